// Workers with their devices and last heartbeats.

import { get, post } from "./api.js";
import { $, button, command, empty, h, put } from "./dom.js";
import { ago, bytes, number } from "./format.js";
import { attempt, every } from "./notices.js";
import { mayChange, pill } from "./parts.js";

const EVERY_MS = 3000;

const polling = every(EVERY_MS, async () => {
  const [{ data: found }, { data: jobs }] = await Promise.all([get("/v1/workers"), get("/v1/jobs?status=running&status=stopping&limit=100")]);
  const names = new Map(jobs.map((job) => [job.id, job.name]));
  const box = $("workers");
  if (!found.length) return put(box, empty("No workers online", "Jobs stay queued until a worker starts.", command("moco up")));
  if (box.contains(document.activeElement) && document.activeElement.matches("button:active")) return undefined;
  const focused = document.activeElement?.id;
  put(box, counts(found), h("ul", { class: "list", "aria-label": "Workers" }, found.map((one) => row(one, names))));
  if (focused) $(focused)?.focus();
  return undefined;
});

function counts(found) {
  const living = found.filter((one) => one.state !== "lost");
  const busy = living.filter((one) => one.job_id).length;
  const slots = sum(living.map((one) => one.slots));
  const used = slots > living.length ? `, ${number(sum(living.map((one) => one.slots_busy)))} of ${number(slots)} slots in use` : "";
  return h("p", { class: "muted" }, `${number(living.length)} online, ${number(busy)} busy${used}`);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function row(worker, names) {
  return h("li", { class: "worker-row", "data-worker": worker.id },
    h("div", {}, h("strong", {}, worker.id), h("div", { class: "muted small" }, `${worker.host}, process ${worker.pid}`)),
    h("div", {}, pill(worker.state)),
    h("div", {}, worker.device, h("div", { class: "muted small" }, device(worker.info)), drained(worker.info)),
    h("div", {}, jobs(worker, names)),
    h("div", { class: "muted small" }, `last seen ${ago(worker.seen_at)}`),
    h("div", { class: "actions" }, mayChange ? controls(worker) : null));
}

/** Return the jobs of a worker as links, and how many of its slots they hold if it has several. */
function jobs(worker, names) {
  if (!worker.jobs.length) return h("span", { class: "muted" }, `accepts ${worker.pools.join(", ")}`);
  const shown = worker.jobs.map((id) => h("div", {}, names.has(id) ? h("a", { href: `/ui/jobs/${id}`, id: `job-${id}-of-${worker.id}` }, names.get(id)) : h("span", { class: "muted" }, "preparing a dataset")));
  if (worker.slots > 1) shown.push(h("div", { class: "muted small" }, `${number(worker.slots_busy)} of ${number(worker.slots)} slots in use`));
  return shown;
}

/** Return the known facts about a worker's device. */
function device(info) {
  const gpus = info.gpus ?? [];
  const models = [...new Set(gpus.map((gpu) => `${gpu.name}${gpu.memory_bytes ? `, ${bytes(gpu.memory_bytes)}` : ""}`))];
  const said = models.map((model) => (gpus.length > 1 && models.length === 1 ? `${gpus.length} × ${model}` : model));
  return [...said, info.torch && `torch ${info.torch}`].filter(Boolean).join(" · ");
}

/** Return a line for each device that takes no jobs any more, with the reason. */
function drained(info) {
  return Object.entries(info.drained ?? {}).map(([slot, reason]) => h("div", { class: "small" }, `${slot} takes no more jobs after two device errors in a row: ${reason}`));
}

function controls(worker) {
  if (worker.state === "draining") return undrain(worker);
  if (!["idle", "busy"].includes(worker.state)) return null;
  return Object.keys(worker.info.drained ?? {}).length ? [undrain(worker), drain(worker)] : drain(worker);
}

function undrain(worker) {
  return button("Undrain", async () => {
    await attempt(() => post(`/v1/workers/${worker.id}/undrain`), `${worker.id} accepts jobs again.`);
    polling.now();
  }, { id: `undrain-${worker.id}`, "aria-label": `Undrain ${worker.id}` });
}

function drain(worker) {
  return button("Drain", async () => {
    await attempt(() => post(`/v1/workers/${worker.id}/drain`), `${worker.id} accepts no new jobs; its current jobs continue.`);
    polling.now();
  }, { id: `drain-${worker.id}`, "aria-label": `Drain ${worker.id}` });
}

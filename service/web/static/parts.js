// Small parts that several pages show.

import { ENDED, LOOKS, duration, nowS, number } from "./format.js";
import { h, svg } from "./dom.js";

export const mayChange = document.body.dataset.role === "full";

export function pill(state) {
  const [word, look] = LOOKS[state] ?? [state, "is-idle"];
  return h("span", { class: `pill ${look}`, "data-state": state }, word);
}

/** Return a sparkline. */
export function sparkline(values, label) {
  const box = svg("svg", { class: "sparkline", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label });
  if (values.length < 2) return box;
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const points = values.map((value, place) =>
    `${(100 * place / (values.length - 1)).toFixed(1)},${(27 - 24 * (value - low) / span).toFixed(1)}`);
  box.append(svg("path", { d: `M${points.join("L")}` }));
  return box;
}

/** Share of the steps done, 0 to 1. */
export function share(job) {
  if (job.status === "succeeded") return 1;
  const { step, steps } = job.progress;
  return steps ? Math.min(1, step / steps) : 0;
}

export function progressBar(job) {
  return h("progress", { max: 1, value: share(job), "aria-label": `Progress of ${job.name}` });
}

/** "epoch 3 of 20 · 4 min left" */
export function progressWords(job) {
  const { epoch, epochs, eta_s: eta } = job.progress;
  if (job.status === "queued" && !job.progress.step) {
    return job.queue_position ? `#${number(job.queue_position)} in queue` : "waiting for a worker";
  }
  const said = [epochs ? `epoch ${epoch.toFixed(epoch < 10 ? 1 : 0)} of ${number(epochs)}` : ENDED.has(job.status) ? `${job.status} before training started` : "starting"];
  if (job.status === "running" && eta !== null && eta !== undefined) said.push(`${duration(eta)} left`);
  return said.join(" · ");
}

/** Return [seconds queued, seconds run or null]. */
export function times(job) {
  const queued = (job.started_at ?? job.finished_at ?? nowS()) - job.created_at;
  const ran = job.started_at ? (job.finished_at ?? nowS()) - job.started_at : null;
  return [Math.max(0, queued), ran];
}

/** Return which of pause, resume, cancel and delete a job accepts now. */
export function verbs(job) {
  const found = [];
  if (job.status === "running" || job.status === "queued") found.push("pause");
  if (["paused", "cancelled", "failed"].includes(job.status)) found.push("resume");
  if (!ENDED.has(job.status) && job.status !== "stopping") found.push("cancel");
  return mayChange ? found : [];
}

/** Return a spec as dotted names: {"optim.lr": 0.03}; an object in a list by its index: {"evaluation.0.k": 5}. */
export function flat(spec, prefix = "") {
  return Object.entries(spec ?? {}).flatMap(([name, value]) =>
    value !== null && typeof value === "object" && !(Array.isArray(value) && typeof value[0] !== "object") && name !== "metadata"
      ? flat(value, `${prefix}${name}.`)
      : [[prefix + name, value]]);
}

// Static tabs of a job: map, settings, log, attempts and checkpoints.

import { get } from "./api.js";
import { button, empty, h, put, table } from "./dom.js";
import { bytes, clock, duration, number, nowS, value } from "./format.js";
import { flat } from "./parts.js";

const LOG_LINES = 400;

export async function atlas(element, { job }) {
  const found = (await get(`/v1/jobs/${job.id}/artifacts`)).data.find((one) => one.name === "atlas.png");
  if (!found) return put(element, empty("No map yet", "The map is drawn when training finishes. Similar images are placed close together."));
  const address = `/v1/jobs/${job.id}/artifacts/atlas.png`;
  put(element, h("section", { class: "card stack" },
    h("h2", {}, "Embedding map"),
    h("p", { class: "muted" }, "Each thumbnail is one image. Images with similar embeddings are close together."),
    h("a", { href: address, download: "atlas.png" }, h("img", { class: "picture", src: address, alt: `Embedding map of ${job.name}` }))));
}

export function settings(element, { job }) {
  const sent = new Map(flat(job.spec));
  const all = flat(job.resolved);
  const row = ([field, found]) => [h("code", {}, field), value(found), job.reasons[field] ?? ""];
  const yours = all.filter(([field]) => sent.has(field));
  const suggested = all.filter(([field]) => !sent.has(field) && job.reasons[field]);
  const rest = all.filter(([field]) => !sent.has(field) && !job.reasons[field]);
  put(element, h("div", { class: "stack" },
    h("section", { class: "card" }, h("h2", {}, "Your settings"), table(["field", "value", ""], yours.map(row))),
    h("section", { class: "card" }, h("h2", {}, "Recommended settings"), suggested.length ? table(["field", "value", "reason"], suggested.map(row)) : h("p", { class: "muted" }, "None: you set every value.")),
    h("details", { class: "group" }, h("summary", {}, "Defaults", h("span", { class: "muted" }, `${rest.length} settings`)), h("div", { class: "fields" }, table(["field", "value"], rest.map((one) => row(one).slice(0, 2)))))));
}

export async function log(element, { job }) {
  const found = await get(`/v1/jobs/${job.id}/logs?tail=${LOG_LINES}`);
  if (!found.lines.length) return put(element, empty("No log output yet", "Output of the training process appears here."));
  const lines = h("pre", { class: "code log", tabindex: "0", "aria-label": "Log" }, found.lines.join("\n"));
  put(element, h("section", { class: "card" },
    h("div", { class: "row" }, h("h2", {}, `Log of attempt ${found.attempt}`), h("span", { class: "push" }, button("Refresh", () => log(element, { job })))), lines));
  lines.scrollTop = lines.scrollHeight;
}

export async function attempts(element, { job }) {
  const [tries, saved] = await Promise.all([get(`/v1/jobs/${job.id}/attempts`), get(`/v1/jobs/${job.id}/checkpoints`)]);
  const tried = tries.data.map((one) => [
    number(one.attempt), one.worker_id, clock(one.started_at), duration((one.ended_at ?? nowS()) - one.started_at),
    one.outcome ?? "running", one.message || one.code,
  ]);
  const kept = saved.data.map((one) => [number(one.step), number(one.attempt), clock(one.created_at), bytes(one.size_bytes), one.available ? "kept" : "removed", h("span", { class: "sha" }, one.manifest_sha256)]);
  put(element, h("div", { class: "stack" },
    h("section", { class: "card" }, h("h2", {}, "Attempts"), tried.length ? table(["no.", "worker", "started", "duration", "outcome", "reason"], tried) : h("p", { class: "muted" }, "No worker has picked up this job yet.")),
    h("section", { class: "card" }, h("h2", {}, "Checkpoints"), kept.length ? table(["step", "attempt", "saved", "size", "on disk", "sha256 of the manifest"], kept, { numbers: [] }) : h("p", { class: "muted" }, "No checkpoints yet."))));
}

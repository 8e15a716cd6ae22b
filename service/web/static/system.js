// State of the service: health, queue, storage and version.

import { get } from "./api.js";
import { $, facts, h, prose, put, table } from "./dom.js";
import { bytes, duration, LOOKS, number } from "./format.js";
import { every } from "./notices.js";
import { pill } from "./parts.js";

const EVERY_MS = 5000;

every(EVERY_MS, async () => {
  const ready = get("/readyz").catch((problem) => (problem.code === "not_ready" || problem.code === "unavailable" ? problem : Promise.reject(problem)));
  const [state, version, queue, storage] = await Promise.all([ready, get("/version"), get("/v1/queue").catch(() => null), get("/v1/storage").catch(() => null)]);
  put($("system"), readiness(state), waiting(queue), disk(storage), about(version));
});

function readiness(state) {
  const well = state.status === "ready";
  return h("section", { class: "card tight" }, h("h2", {}, "Health"),
    h("div", { class: "row" }, h("span", { class: `pill ${well ? "is-ok" : "is-bad"}` }, well ? "Ready" : "Not ready"),
      h("span", {}, well ? `${bytes(state.disk_free_bytes)} free` : `${state.detail} ${state.hint}`)),
    ...(state.warnings ?? []).map((one) => h("p", { class: "notice is-warn" }, h("strong", {}, one.message), h("span", {}, prose(one.hint)))));
}

const USES = {
  uploads: "Original uploads", packs: "Prepared datasets", weights: "Uploaded weights", checkpoints: "Checkpoints", artifacts: "Artifacts",
  jobs: "Job curves, logs and ledgers", logs: "Service logs", store: "Job store", other: "Other",
};

function disk(storage) {
  if (!storage) return null;
  const rows = Object.entries(storage.uses).filter(([, size]) => size).map(([use, size]) => [USES[use] ?? use, bytes(size)]);
  return h("section", { class: "card stack", id: "storage" }, h("h2", {}, "Storage"),
    h("p", {}, `${bytes(storage.total_bytes)} used in the data folder, ${bytes(storage.free_bytes)} free.`),
    table(["use", "size"], rows));
}

function waiting(queue) {
  if (!queue) return h("section", { class: "card" }, h("h2", {}, "Queue"), h("p", { class: "muted" }, "Unknown while the job store is down."));
  const pools = queue.pools.map((one) => [one.pool, number(one.depth), one.oldest_wait_s === null ? "–" : duration(one.oldest_wait_s)]);
  return h("section", { class: "card stack" }, h("h2", {}, "Queue"),
    h("div", { class: "row" }, Object.entries(queue.counts).filter(([, count]) => count).map(([state, count]) =>
      h("a", { href: `/ui/jobs?status=${state}`, class: "row", "aria-label": `${count} ${LOOKS[state]?.[0] ?? state}` }, pill(state), number(count)))),
    pools.length ? table(["pool", "queued", "longest wait"], pools) : h("p", { class: "muted" }, "No workers and no jobs."));
}

function about(version) {
  return h("section", { class: "card stack" }, h("h2", {}, "About"),
    facts([["mocoserve", version.version], ["API", version.api], ["Python", version.python]]),
    h("p", { class: "row" }, h("a", { href: "/docs" }, "API reference"), h("a", { href: "/openapi.json" }, "OpenAPI"), h("a", { href: "/metrics" }, "Prometheus metrics")));
}

// List of jobs with status, progress and outcome.

import { addressOf } from "./address.js";
import { get, post } from "./api.js";
import { $, button, command, empty, h, put } from "./dom.js";
import { LOOKS, duration, number } from "./format.js";
import { attempt, every } from "./notices.js";
import { mayChange, pill, progressBar, progressWords, sparkline, times, verbs } from "./parts.js";

const EVERY_MS = 2500;
const CURVE_POINTS = 60;
const STATES = ["running", "queued", "paused", "succeeded", "failed", "cancelled"];
const SAID = { pause: "pausing, saving a checkpoint first.", resume: "queued again.", cancel: "cancelling." };

const curves = new Map();
const chosen = new Set();
const wanted = new Set(new URLSearchParams(location.search).getAll("status"));
let limit = 20;

function filters() {
  const boxes = STATES.map((state) => h("label", {},
    h("input", { type: "checkbox", value: state, checked: wanted.has(state), onchange: choose }), LOOKS[state][0]));
  put($("filters"), h("fieldset", { class: "filters" }, h("legend", { class: "hidden-label" }, "Filter by status"), boxes));
}

function choose(event) {
  const { value, checked } = event.target;
  if (checked) wanted.add(value);
  else wanted.delete(value);
  history.replaceState(null, "", query() ? `?${query()}` : location.pathname);
  polling.now();
}

function query() {
  // The filter for running jobs includes stopping ones.
  const states = [...wanted].flatMap((state) => (state === "running" ? ["running", "stopping"] : [state]));
  return new URLSearchParams(states.map((state) => ["status", state])).toString();
}

async function load() {
  const page = await get(`/v1/jobs?limit=${limit}&${query()}`);
  await Promise.all(page.data.map(remember));
  show(page);
}

/** Loss curve: fetched once, then extended by each refresh of the list. */
async function remember(job) {
  const known = curves.get(job.id);
  const step = job.progress.step;
  if (!known) {
    const found = step ? await get(`/v1/jobs/${job.id}/metrics?names=loss&max_points=${CURVE_POINTS}`) : { series: {} };
    curves.set(job.id, { step, values: found.series.loss?.value ?? [] });
  } else if (known.step !== step && Number.isFinite(job.progress.signals?.loss)) {
    known.values.push(job.progress.signals.loss);
    known.step = step;
  }
}

function show(page) {
  if (document.querySelector(".job-row button:active")) return; // do not replace a button that is being pressed
  $("more").hidden = !page.has_more;
  const list = $("jobs");
  if (!page.data.length) return put(list, wanted.size ? nothingFound() : firstSteps());
  const focused = document.activeElement?.id;
  put(list, h("ul", { class: "list", "aria-label": "Jobs" }, page.data.map(row)));
  if (focused) $(focused)?.focus();
  const running = page.data.filter((job) => job.status === "running").length;
  document.title = `${running ? `${running} running · ` : ""}Jobs · mocoserve`;
}

function row(job) {
  const loss = job.progress.signals?.loss;
  const curve = curves.get(job.id)?.values ?? [];
  return h("li", { class: "job-row", "data-job": job.id },
    h("input", {
      type: "checkbox", id: `pick-${job.id}`, checked: chosen.has(job.id), "aria-label": `Compare ${job.name}`,
      onchange: (event) => pick(job.id, event.target.checked),
    }),
    h("div", {},
      h("a", { class: "name", href: `/ui/jobs/${job.id}`, id: `open-${job.id}` }, job.name),
      h("div", { class: "muted small" }, job.resolved.encoder?.name ?? "", " on ", job.resolved.dataset ?? "")),
    h("div", {}, pill(job.status)),
    h("div", { class: "tight progress-cell" }, progressBar(job), h("span", { class: "small muted" }, reasonOr(job))),
    h("div", { class: "spark-cell" }, curve.length > 1 ? sparkline(curve, `Loss, now ${number(loss)}`) : null),
    when(job),
    h("div", { class: "actions" }, verbs(job).map((verb) => control(job, verb))));
}

function reasonOr(job) {
  return job.status === "failed" ? job.status_reason?.message ?? "failed" : progressWords(job);
}

function when(job) {
  const [queued, ran] = times(job);
  return h("div", { class: "small times" },
    h("div", {}, ran === null ? "" : `Run time ${duration(ran)}`),
    h("div", { class: "muted" }, `In queue ${duration(queued)}`));
}

function control(job, verb) {
  return button(verb[0].toUpperCase() + verb.slice(1), async () => {
    await attempt(() => post(`/v1/jobs/${job.id}/${verb}`), `${job.name}: ${SAID[verb]}`);
    polling.now();
  }, { id: `${verb}-${job.id}`, "aria-label": `${verb} ${job.name}`, class: verb === "cancel" ? "danger" : null });
}

function pick(id, on) {
  if (on) chosen.add(id);
  else chosen.delete(id);
  $("compare").hidden = chosen.size !== 2;
}

function nothingFound() {
  return empty("No matching jobs", "No job has one of the selected statuses.",
    button("Show all jobs", () => { wanted.clear(); filters(); history.replaceState(null, "", location.pathname); polling.now(); }));
}

function firstSteps() {
  if (!mayChange) return empty("No jobs yet", "Starting a job needs the key in api.key.");
  return empty("No jobs yet", "Upload images and start a job, or run the demo.",
    h("div", { class: "actions" }, h("a", { class: "button primary", href: "/ui/datasets" }, "Add a dataset"), h("a", { class: "button", href: "/ui/submit" }, "New job")),
    command("moco demo"));
}

$("compare").addEventListener("click", () => {
  const [a, b] = chosen;
  location.assign(addressOf(`/ui/compare?a=${a}&b=${b}`));
});
$("more").addEventListener("click", () => {
  limit = Math.min(100, limit + 40);
  polling.now();
});
filters();
const polling = every(EVERY_MS, load);

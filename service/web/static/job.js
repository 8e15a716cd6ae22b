// Page of one job: state, live curves, files and settings.
//
// A tab is one entry of TABS: {id, label, show(element, context)}. `context` is {job, curves, words}.

import { addressOf } from "./address.js";
import { call, get, post } from "./api.js";
import { curvesOf, readCurves } from "./curves.js";
import { $, button, copyButton, h, plain, prose, put } from "./dom.js";
import { evaluation } from "./evaluation.js";
import { follow } from "./follow.js";
import { ENDED, bytes, duration, number, nowS, percent } from "./format.js";
import { assess } from "./health.js";
import { files } from "./job_files.js";
import { atlas, attempts, log, settings } from "./job_tabs.js";
import { neighbours } from "./neighbours.js";
import { attempt, dismiss, every, notice, persist, tell } from "./notices.js";
import { mayChange, pill, progressBar, progressWords, share, times, verbs } from "./parts.js";
import { profileWords } from "./profile.js";
import { tabs } from "./tabs.js";

const EVERY_MS = 4000;
const SAID = { pause: "Pausing: saving a checkpoint first.", resume: "Queued again.", cancel: "Cancelling; its checkpoint is kept." };

const root = $("job");
const jobId = root.dataset.job;
const { element: chartsBox, charts, names } = curvesOf(jobId, JSON.parse(root.dataset.more));
const context = { job: null, curves: {}, workers: [] };
let heardS = nowS();
let stream = null;
let isGone = false;

const TABS = [
  { id: "curves", label: "Curves", show: (element) => put(element, chartsBox) },
  { id: "evaluation", label: "Evaluation", show: evaluation },
  { id: "files", label: "Files", show: files },
  { id: "map", label: "Map", show: atlas },
  { id: "neighbours", label: "Neighbors", show: neighbours },
  { id: "settings", label: "Settings", show: settings },
  { id: "log", label: "Log", show: log },
  { id: "history", label: "Attempts", show: attempts },
];

const head = h("div", { class: "tight" });
const summary = h("section", { class: "card summary", "aria-label": "Progress" });
const profile = h("section", { class: "card tight", "aria-label": "Profile", hidden: true });
const health = h("ul", { class: "health", "aria-live": "polite" });
const shelf = tabs(TABS, context);

async function begin() {
  const [job, curves, workers] = await Promise.all([get(`/v1/jobs/${jobId}`), readCurves(jobId, { names, onMore: redraw }), get("/v1/workers")]);
  Object.assign(context, { job, curves, workers: workers.data });
  put(root, head, h("section", { "aria-label": "Health" }, health), summary, profile, shelf.element);
  charts.set(curves);
  show();
  shelf.open(location.hash.slice(1) || "curves");
  live();
}

/** Update everything but the curves from the current job. */
function show() {
  const { job } = context;
  document.title = plain(`${titleOf(job)} · mocoserve`);
  showHead(job);
  showSummary(job);
  showProfile(job.progress.profile);
  const words = assess(job, { curves: context.curves, workers: context.workers, silentS: nowS() - heardS });
  const key = JSON.stringify(words);
  if (health.dataset.key === key) return;
  health.dataset.key = key;
  health.replaceChildren(...words.map(({ kind, word, text, todo }) =>
    h("li", { class: `is-${kind}` }, h("span", { class: "word" }, word), h("span", { class: "text" }, prose(text)), todo ? h("span", { class: "todo" }, prose(todo)) : null)));
}

function titleOf(job) {
  if (job.status === "running") return `${Math.round(100 * share(job))} % ${job.name}`;
  return `${job.status} · ${job.name}`;
}

function showHead(job) {
  if (head.contains(document.activeElement) && document.activeElement.matches(":active")) return;
  const focused = document.activeElement?.dataset?.verb;
  head.replaceChildren(
    h("p", { class: "crumb" }, h("a", { href: "/ui/jobs" }, "Jobs"), " / ", h("span", { class: "mono muted" }, job.id), " ", copyButton(job.id, "the id")),
    h("div", { class: "head" },
      h("div", { class: "head-title" }, h("h1", {}, job.name), pill(job.status)),
      h("div", { class: "actions" }, verbs(job).map(control), again(job), removal(job),
        h("a", { class: "button", href: `/ui/compare?a=${job.id}` }, "Compare"))));
  if (focused) head.querySelector(`[data-verb="${focused}"]`)?.focus();
}

function control(verb) {
  return button(verb[0].toUpperCase() + verb.slice(1), async () => {
    await attempt(() => post(`/v1/jobs/${jobId}/${verb}`), SAID[verb]);
    await renew();
  }, { "data-verb": verb, class: verb === "cancel" ? "danger" : null });
}

function again(job) {
  return mayChange ? h("a", { class: "button", href: `/ui/submit?from=${job.id}` }, "Run again") : null;
}

function removal(job) {
  if (!mayChange || !ENDED.has(job.status)) return null;
  return button("Delete", async () => {
    if (!confirm(`Delete ${job.name} with its checkpoints and files? This cannot be undone.`)) return;
    if (await attempt(() => call("DELETE", `/v1/jobs/${jobId}`))) location.assign(addressOf("/ui/jobs"));
  }, { class: "danger", "data-verb": "delete" });
}

function showSummary(job) {
  const [queued, ran] = times(job);
  const { step, steps, rows_per_s: speed } = job.progress;
  const box = (name, value) => h("div", { class: "number-box" }, h("span", {}, name), h("span", {}, value));
  summary.replaceChildren(
    h("div", { class: "row" }, h("strong", {}, progressWords(job)), h("span", { class: "muted push" }, steps ? `step ${number(step)} of ${number(steps)}` : "")),
    progressBar(job),
    h("div", { class: "numbers" },
      box("Queue time", duration(queued)), box("Run time", ran === null ? "not started" : duration(ran)),
      box("Throughput", speed ? `${number(speed)} images/s` : "–"), box("Loss", number(job.progress.signals?.loss)),
      figures(job.progress.signals ?? {}).map(([name, value]) => box(name, percent(value))),
      box("Checkpoint", job.checkpoint_step ? `step ${number(job.checkpoint_step)}` : "none yet"),
      job.progress.best ? box(`Best ${job.progress.best.signal}`, `${number(job.progress.best.value)} at step ${number(job.progress.best.step)}`) : null,
      box("Disk usage", job.stored_bytes ? bytes(job.stored_bytes) : "–"),
      box("Worker", job.worker_id ?? "–"), gpusOf(job) ? box("GPUs", gpusOf(job)) : null, box("Attempt", number(job.attempt))),
    ...(job.progress.ends_early ? [h("p", {}, `Ended early: ${job.progress.ends_early}`)] : []));
}

/** Return "8 on 2 nodes" for a job of several GPUs, nothing for one. */
function gpusOf(job) {
  const { gpus = 1, nodes = 1 } = job.resolved?.resources ?? {};
  if (gpus === 1) return null;
  return nodes === 1 ? number(gpus) : `${number(gpus)} on ${number(nodes)} nodes`;
}

/** Return the newest accuracy of a classifier, or of kNN with its baselines. */
function figures(signals) {
  if (signals.classifier_top1 !== undefined) return [["Accuracy", signals.classifier_top1], ["Mean recall of classes", signals.classifier_balanced_accuracy]];
  const names = [["kNN top-1", "knn_top1"], ["kNN, raw input", "knn_top1_raw"], ["kNN, untrained encoder", "knn_top1_untrained"], ["Majority class", "knn_top1_majority"]];
  return signals.knn_top1 === undefined ? [] : names.map(([name, signal]) => [name, signals[signal]]).filter(([, value]) => value !== undefined);
}

/** Update the card of the profile only if it changed, so that it stays open. */
function showProfile(found) {
  if (!found || profile.dataset.step === String(found.step)) return;
  const isOpen = profile.querySelector("details")?.open ?? false;
  profile.dataset.step = found.step;
  profile.hidden = false;
  profile.replaceChildren(...profileWords(found));
  profile.querySelector("details").open = isOpen;
}

/** Reload the job; the stream has only changes. */
async function refresh() {
  const before = context.job.status;
  context.job = await get(`/v1/jobs/${jobId}`);
  if (context.job.status === "queued") context.workers = (await get("/v1/workers")).data;
  if (context.job.status !== before) shelf.again();
  show();
  live();
}

function redraw(curves) {
  context.curves = curves;
  charts.set(curves);
}

async function reread() {
  redraw(await readCurves(jobId, { names, onMore: redraw }));
  await refresh();
}

/** Reload; show errors instead of throwing them. */
const renew = (read = refresh) => read().catch((problem) => (problem.status === 404 ? gone() : tell(problem, "away")));

/** Follow the job while it can still change. */
function live() {
  const over = ENDED.has(context.job.status);
  if (over && stream) {
    stream.stop();
    stream = null;
  } else if (!over && !stream) {
    stream = follow(jobId, { onEvent: hear, onReturn: () => renew(reread) });
  }
}

function hear(event) {
  heardS = nowS();
  const { job } = context;
  if (event.type === "stepped" || event.type === "evaluated") {
    if (event.step < job.progress.step && event.type === "stepped") return;
    job.progress = { ...job.progress, step: event.step, epoch: event.epoch, signals: { ...job.progress.signals, ...event.signals } };
    if (event.type === "evaluated") Object.assign(job.progress, { best: event.best, ends_early: event.ends_early });
    job.progress.rows_per_s = event.signals.rows_per_s ?? job.progress.rows_per_s;
    charts.push(event.step, event.signals);
    remember(event);
    soon();
  } else if (event.type === "profiled") {
    job.progress = { ...job.progress, profile: event };
    soon();
  } else if (event.type === "judged") {
    job.progress = { ...job.progress, verdict: event };
    soon();
  } else if (event.type === "gap") {
    notice("gap", "warn", "Some events were missed", event.message);
    renew(reread);
  } else {
    renew(event.type === "started" ? reread : refresh);
  }
}

/** Append to the curves that the health messages read. */
function remember({ step, signals }) {
  for (const [name, value] of Object.entries(signals)) {
    const curve = (context.curves[name] ??= { step: [], value: [] });
    if (step > (curve.step.at(-1) ?? -1)) {
      curve.step.push(step);
      curve.value.push(value);
    }
  }
}

let due = null;
function soon() {
  due ??= setTimeout(() => { due = null; show(); }, 500);
}

async function start() {
  try {
    await persist(begin);
    every(EVERY_MS, async () => { if (!isGone && !ENDED.has(context.job.status)) await refresh().catch(unlessGone); });
  } catch (problem) {
    if (problem.status === 404) return gone();
    tell(problem);
    put(root, h("h1", {}, "Job"), h("p", { class: "muted" }, "Reload this page to try again."), h("p", {}, h("a", { href: "/ui/jobs" }, "All jobs")));
  }
  return undefined;
}

function unlessGone(problem) {
  if (problem.status !== 404) throw problem;
  gone();
}

/** Show that the job does not exist any more. */
function gone() {
  isGone = true;
  stream?.stop();
  ["gap", "problem", "away"].forEach((name) => dismiss(name));
  document.title = "Job not found · mocoserve";
  put(root, h("h1", {}, "Job not found"), h("p", { class: "muted" }, "It was deleted, or the link is wrong."),
    h("p", {}, h("a", { class: "button", href: "/ui/jobs" }, "All jobs")));
}

start();

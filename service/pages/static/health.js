// How a run is, in words, and what to do about it. Pure: no page, no request.
//
// The loss of a healthy run rises at first, while real keys replace the random ones among the
// negatives; nothing here alarms on a rising loss.

import { duration, number, percent } from "./format.js";

const COLLAPSED = 0.1;
const COLLAPSING = 0.2;
const EASY_TOP1 = 0.99;
const STARVED = 0.3;
const SILENT_S = 90;
const EARLY = 0.1;
const LATEST = 20;

/**
 * The words on a job: [{kind: "ok" | "warn" | "bad" | "busy" | "idle", word, text, todo}], the worst first.
 * `curves` is {name: {step, value}}, `workers` the list of workers, `silentS` the seconds without news.
 */
export function assess(job, { curves = {}, workers = [], silentS = 0 } = {}) {
  if (job.status === "queued") return [queued(job, workers)];
  if (job.status === "failed") return [failed(job)];
  if (job.status === "paused") return [say("warn", "Paused", `It keeps its checkpoint of step ${number(job.checkpoint_step)}.`, "Resume it to go on from there.")];
  if (job.status === "cancelled") return [cancelled(job)];
  if (job.status === "stopping") return [say("warn", "Stopping", "It saves a checkpoint before it stops.", "Nothing to do.")];
  const found = judged(job, curves, silentS);
  return found.length ? found : [fine(job)];
}

const say = (kind, word, text, todo = "") => ({ kind, word, text, todo });

function queued(job, workers) {
  const fit = workers.filter((one) => one.state !== "lost" && one.pools.includes(job.resolved.pool ?? "train"));
  if (!fit.length) return say("bad", "Waiting for nobody", `No worker takes jobs of the pool ${job.resolved.pool ?? "train"}.`, "Start one: `moco up` on this machine, or `python -m worker` on another.");
  const busy = fit.filter((one) => one.state === "busy").length;
  const place = job.queue_position ? `It is number ${number(job.queue_position)} in the queue` : "It waits";
  return say("idle", "Queued", `${place}; ${busy} of ${fit.length} workers are busy.`, "Nothing to do: it starts by itself.");
}

function failed(job) {
  const { message, hint, code } = job.status_reason ?? {};
  return say("bad", "Failed", message || `It ended with ${code || "an error"}.`, hint || "The log has the cause; `Run again` takes the same settings.");
}

function cancelled(job) {
  const kept = job.checkpoint_step ? `Its checkpoint of step ${number(job.checkpoint_step)} is kept.` : "It had no checkpoint yet.";
  return say("idle", "Cancelled", `Somebody stopped it. ${kept}`, "Resume goes on from there; Run again starts anew.");
}

function judged(job, curves, silentS) {
  const rules = [silent, collapse, chance, easy, starved, filling, changed];
  const order = { bad: 0, warn: 1, busy: 2 };
  return rules.map((rule) => rule({ job, curves, silentS, ...reading(job, curves) })).filter(Boolean)
    .sort((a, b) => order[a.kind] - order[b.kind]);
}

/** The newest readings of a signal, averaged: one batch alone says little. */
function newest(curve) {
  const found = curve?.value.slice(-LATEST) ?? [];
  return found.length ? found.reduce((sum, one) => sum + one, 0) / found.length : undefined;
}

function reading(job, curves) {
  const signals = job.progress.signals ?? {};
  const of = (name) => (name === "negatives_fill_ratio" ? signals[name] : newest(curves[name]) ?? signals[name]);
  const { step = 0, steps } = job.progress;
  return { of, filled: (of("negatives_fill_ratio") ?? 0) >= 1, early: !steps || step / steps < EARLY };
}

function silent({ job, silentS }) {
  if (job.status !== "running" || silentS < SILENT_S) return null;
  return say("warn", "No news", `Nothing was heard for ${duration(silentS)}.`, "If its worker is lost, another one goes on from the last checkpoint by itself. The log tells what it did last.");
}

function collapse({ of }) {
  const spread = of("embedding_std_ratio");
  if (spread === undefined || spread >= COLLAPSING) return null;
  const todo = "Cancel it and run again with a lower `optim.lr`, `method.bn` set to split, or a higher `method.temperature`.";
  if (spread < COLLAPSED) return say("bad", "Collapsed", `All images get nearly the same embedding: the spread is ${number(spread)} where 1 is healthy.`, todo);
  return say("warn", "May be collapsing", `The embeddings spread only to ${number(spread)}; 1 is healthy, 0 is collapsed.`, `Watch the spread; if it goes on falling: ${todo}`);
}

function chance({ job, of, filled, early }) {
  const [loss, guess] = [of("loss"), of("chance_loss")];
  if (!filled || early || loss === undefined || guess === undefined || loss < 0.98 * guess) return null;
  return say("warn", job.status === "succeeded" ? "Learned little" : "Not learning yet", `The loss ${number(loss)} is that of guessing, ln(1 + K) = ${number(guess)}.`, "Try a higher `optim.lr`, a lower `method.temperature`, or weaker views.");
}

function easy({ of, filled, early }) {
  if (!filled || early || (of("top1") ?? 0) < EASY_TOP1) return null;
  return say("warn", "Too easy", `${percent(of("top1"))} of the queries find their own key at once, so little is left to learn.`, "Give it more negatives (`method.queue_rows`) or stronger views (a smaller `views.crop_scale`).");
}

function starved({ job, curves }) {
  const waited = recentWait(curves);
  if (job.status !== "running" || waited === null || waited < STARVED) return null;
  return say("warn", "Waits for data", `${percent(waited)} of its time goes into preparing rows.`, "Give the worker more threads (`MOCO_THREADS`), or a faster disk for the data folder.");
}

/** Share of the newest readings' time that went into rows and views; null if not known. */
export function recentWait({ data_s: data, step_s: step }) {
  if (!data || !step || data.value.length < 2 || step.value.length < 2) return null;
  const grown = ({ value }) => value.at(-1) - value[Math.max(0, value.length - 1 - LATEST)];
  const [waited, worked] = [grown(data), grown(step)];
  return waited >= 0 && worked >= 0 && waited + worked > 0 ? waited / (waited + worked) : null;
}

function filling({ job, of }) {
  const filled = of("negatives_fill_ratio");
  if (job.status !== "running" || filled === undefined || filled >= 1) return null;
  return say("busy", "Negatives are filling", `${percent(filled)} of the negatives are real keys by now. Until all are, the loss rises and the accuracy starts near 100 %: that is normal.`, "Nothing to do: judge the curves behind the shaded band.");
}

function changed({ job }) {
  if (job.progress.exact !== false) return null;
  return say("warn", "Not exact any more", `It was resumed under other conditions: ${job.progress.differs.join(", ")}. It goes on well, but its bytes cannot be made again.`, "Run it again on one kind of machine if you need the same bytes.");
}

function fine(job) {
  if (job.status === "succeeded") return say("ok", "Done", "It trained to the end and no sign of collapse was seen.", "Take the encoder from Files; the map shows what it sees.");
  if (!job.progress.step) return say("busy", "Starting", "The worker prepares the run.", "Nothing to do.");
  return say("ok", "Healthy", "The loss is below that of guessing and the embeddings are spread out.", "Nothing to do.");
}

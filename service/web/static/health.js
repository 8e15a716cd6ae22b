// State of a run and what to do about it, as text. Pure: no page, no request.
//
// The verdict on learning comes with the job, from the table of verdicts; this file has the texts on
// what the service does with the job.

import { duration, number, percent } from "./format.js";

const STARVED = 0.3;
const SILENT_S = 90;
const LATEST = 20;

/**
 * Return the messages on a job: [{kind: "ok" | "warn" | "bad" | "busy" | "idle", word, text, todo}], the worst first.
 * `curves` is {name: {step, value}}, `workers` the list of workers, `silentS` the seconds without an event.
 */
export function assess(job, { curves = {}, workers = [], silentS = 0 } = {}) {
  if (job.status === "queued") return [queued(job, workers)];
  if (job.status === "failed") return [failed(job)];
  if (job.status === "paused") return [say("warn", "Paused", `Checkpoint at step ${number(job.checkpoint_step)} kept.`, "Resume to continue from it.")];
  if (job.status === "cancelled") return [cancelled(job)];
  if (job.status === "stopping") return [say("warn", "Stopping", "Saving a checkpoint first.", "Nothing to do.")];
  const found = judged(job, curves, silentS);
  return found.length ? found : [fine(job)];
}

const say = (kind, word, text, todo = "") => ({ kind, word, text, todo });

function queued(job, workers) {
  const { code, message, hint } = job.waiting_reason ?? {};
  if (code === "workers_draining") return say("bad", "No worker available", message, hint);
  if (code === "no_worker_fits") return say("bad", "No worker fits", message, hint);
  const fit = workers.filter((one) => !["lost", "draining"].includes(one.state) && one.pools.includes(job.resolved.pool ?? "train"));
  if (!fit.length) return say("bad", "No worker available", `No worker accepts jobs from the ${job.resolved.pool ?? "train"} pool.`, "Start one: `moco up` on this machine, or `python -m worker` on another.");
  const busy = fit.filter((one) => one.state === "busy").length;
  const place = job.queue_position ? `#${number(job.queue_position)} in queue` : "Waiting";
  const wide = (job.resolved.resources?.gpus ?? 1) > 1 && message ? ` ${message}` : "";
  return say("idle", "Queued", `${place}; ${busy} of ${fit.length} workers busy.${wide}`, "Nothing to do: it starts automatically.");
}

function failed(job) {
  const { message, hint, code } = job.status_reason ?? {};
  const word = job.progress.verdict?.code === "diverged" ? "Failed: diverged" : "Failed";
  return say("bad", word, message || `The job ended with ${code || "an error"}.`, hint || "Read the Log tab for the cause. `Run again` starts a new job with the same settings.");
}

function cancelled(job) {
  const kept = job.checkpoint_step ? `Checkpoint at step ${number(job.checkpoint_step)} kept.` : "No checkpoint was saved.";
  return say("idle", "Cancelled", kept, `${job.checkpoint_step ? "Resume continues from it" : "Resume starts from step 0"}; Run again starts a new job.`);
}

function judged(job, curves, silentS) {
  const rules = [silent, learning, starved, changed];
  const order = { bad: 0, warn: 1, busy: 2 };
  return rules.map((rule) => rule({ job, curves, silentS })).filter(Boolean)
    .sort((a, b) => order[a.kind] - order[b.kind]);
}

function silent({ job, silentS }) {
  if (job.status !== "running" || silentS < SILENT_S) return null;
  return say("warn", "No updates", `No progress for ${duration(silentS)}.`, "If the worker is lost, another one continues from the last checkpoint automatically. Read the Log tab for the last activity.");
}

/** Return the verdict of the table; "too early" becomes a warning when the run has ended. */
function learning({ job }) {
  const { verdict } = job.progress;
  if (!verdict || verdict.kind === "ok") return null;
  const kind = verdict.kind === "busy" && job.status === "succeeded" ? "warn" : verdict.kind;
  return say(kind, verdict.word, verdict.evidence, verdict.advice);
}

function starved({ job, curves }) {
  const waited = recentWait(curves);
  if (job.status !== "running" || waited === null || waited < STARVED) return null;
  return say("warn", "Data-bound", `Loading and augmentation take ${percent(waited)} of the training time.`, "Give the worker more threads (`MOCO_THREADS`), or put the data folder on a faster disk.");
}

/** Return the share of recent time spent on data loading and augmentation; null if unknown. */
export function recentWait({ data_s: data, step_s: step }) {
  if (!data || !step || data.value.length < 2 || step.value.length < 2) return null;
  const grown = ({ value }) => value.at(-1) - value[Math.max(0, value.length - 1 - LATEST)];
  const [waited, worked] = [grown(data), grown(step)];
  return waited >= 0 && worked >= 0 && waited + worked > 0 ? waited / (waited + worked) : null;
}

function changed({ job }) {
  if (job.progress.exact !== false) return null;
  return say("warn", "No longer reproducible", `The job was resumed with a different ${job.progress.differs.join(", ")}. Training continues normally, but results will not be bit-identical.`, "For bit-identical results, run it again on machines of one kind.");
}

function fine(job) {
  const { verdict, step } = job.progress;
  if (job.status === "succeeded") return say("ok", "Done", verdict ? `${verdict.word}: ${verdict.evidence}` : "Training finished.", `Download the ${job.spec.kind === "finetune" ? "classifier" : "encoder"} from the Files tab.`);
  if (!step || !verdict) return say("busy", "Starting", "The worker is preparing the run.", "Nothing to do.");
  return say("ok", verdict.word, verdict.evidence, verdict.advice);
}

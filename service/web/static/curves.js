// Charts of a job: their curves, bands and signals.

import { get } from "./api.js";
import { Charts } from "./chart.js";
import { band, bands } from "./chart_marks.js";
import { h } from "./dom.js";
import { COLLAPSED_STD, COLLAPSING_STD } from "./verdicts.js";

const POINTS = 500;
const AGAIN_MS = 500;

/** Return the first step at which a ratio is 1; null while it is below. */
function filledAt(fill) {
  const place = fill?.value.findIndex((ratio) => ratio >= 1) ?? -1;
  return place < 0 ? null : fill.step[place];
}

/** Return the band behind the loss while the ratio `fill` is below 1: a rising loss is normal. */
function fillingBand(what, fill, range) {
  if (!fill?.step.length) return null;
  const end = filledAt(fill) ?? fill.step.at(-1);
  const text = `${what} is filling: a rising loss is normal`;
  return end > Math.max(fill.step[0], range?.[0] ?? 0) ? band("--series-2", { x0: 0, x1: end, textAt: Math.max(0, range?.[0] ?? 0), text }) : null;
}

export const CHARTS = [
  {
    title: "Loss", unit: "nats", wide: true,
    text: "Below the dashed line means better than chance.",
    series: [{ name: "loss", label: "loss" }, { name: "chance_loss", label: "chance", color: "--muted", dash: "dash" }, { name: "contrast_loss", label: "without pretexts", color: "--series-2" }],
  },
  {
    title: "Contrastive accuracy", ticks: ".0%", text: "How often the other view of an image is its nearest, or among its five nearest.",
    series: [{ name: "top1", label: "top-1" }, { name: "top5", label: "top-5", color: "--series-3" }], fromZero: true,
  },
  {
    title: "kNN accuracy", ticks: ".0%", text: "Accuracy on held-out labeled images, with baselines. Needs labels.",
    series: [
      { name: "knn_top1", label: "kNN top-1", color: "--series-3" }, { name: "knn_top1_raw", label: "raw input", color: "--series-2", dash: "dash" },
      { name: "knn_top1_untrained", label: "untrained encoder", color: "--series-4", dash: "dot" }, { name: "knn_top1_majority", label: "majority class", color: "--muted", dash: "dot" },
    ],
  },
  {
    title: "Embedding spread", text: "Collapse check: near 1 is healthy; near 0, all embeddings are the same.",
    series: [{ name: "embedding_std_ratio", label: "std × √d", color: "--series-4" }], fromZero: true,
    bands: (_, { log }) => bands(
      band("--bad", { y0: log ? 0.01 : 0, y1: COLLAPSED_STD, text: "collapsed", log }),
      band("--warn", { y0: COLLAPSED_STD, y1: COLLAPSING_STD, text: "collapsing", log })),
  },
  {
    title: "Throughput", unit: "images/s", text: "Images per second, excluding evaluation.",
    series: [{ name: "rows_per_s", label: "images/s", color: "--series-3" }], fromZero: true,
  },
  {
    title: "Data vs. training time", unit: "s", text: "Cumulative seconds in this attempt.",
    series: [{ name: "data_s", label: "loading and augmentation", color: "--series-2" }, { name: "step_s", label: "training steps" }], fromZero: true,
  },
  {
    title: "Similarity", linear: true, text: "Cosine similarity to positives and negatives; the gap should grow.",
    series: [{ name: "positive_similarity", label: "positives" }, { name: "negative_similarity", label: "negatives", color: "--series-2" }],
  },
  { title: "Learning rate", series: [{ name: "lr", label: "learning rate", color: "--series-4" }], fromZero: true },
];

const NAMES = [...new Set(CHARTS.flatMap(({ series }) => series.map(({ name }) => name)))];

/** Fetch a job's curves, of all steps or of a range: {series: {name: {step, value}}, sampled}. */
export function readSteps(jobId, { names = NAMES, points = POINTS, first = null, last = null } = {}) {
  const range = first === null ? "" : `&from_step=${first}&to_step=${last}`;
  return get(`/v1/jobs/${jobId}/metrics?names=${names.join(",")}&max_points=${points}${range}`);
}

/** Fetch them once the service has read a long history completely; poll it with two points until then. */
async function readWhole(jobId, { names, points }) {
  let sampled = true;
  while (sampled) {
    await new Promise((go) => { setTimeout(go, AGAIN_MS); });
    ({ sampled } = await readSteps(jobId, { names: ["loss"], points: 2 }));
  }
  return (await readSteps(jobId, { names, points })).series;
}

/**
 * Fetch the whole curves of a job, downsampled by the service: {name: {step, value}}. A very long history is
 * sampled first; `onMore(series)` gets the complete curves.
 */
export async function readCurves(jobId, { names = NAMES, points = POINTS, onMore = null } = {}) {
  const found = await readSteps(jobId, { names, points });
  if (found.sampled && onMore) readWhole(jobId, { names, points }).then(onMore, () => {});
  return found.series;
}

/** A chart of a signal that none of the others shows: {name, title, unit, better, fills}; hidden until the job has readings. */
function chartOf({ name, title, unit, better }) {
  const sentence = `${title[0].toUpperCase()}${title.slice(1)}`;
  const [short] = sentence.split(/[,;]/);
  const text = [short === sentence ? "" : `${sentence}.`, { up: "Higher is better.", down: "Lower is better." }[better] ?? ""];
  const scale = unit === "ratio" ? { ticks: ".0%" } : { unit };
  return { title: short, text: text.filter(Boolean).join(" "), ...scale, series: [{ name, label: short }], optional: true };
}

/** The chart of the loss, shaded while anything fills. */
function lossOf(chart, more) {
  const filling = more.filter(({ fills }) => fills);
  return { ...chart, also: filling, bands: (series, { range }) => bands(...filling.map(({ name, fills }) => fillingBand(fills, series[name], range))) };
}

/** All charts of one job, with their tools; `more` are further signals. `charts` takes readings of `names`. A chart other than the loss appears with its first reading: a job may never have one. */
export function curvesOf(jobId, more = []) {
  const names = [...NAMES, ...more.map(({ name }) => name)];
  const charts = new Charts({ finer: (first, last) => readSteps(jobId, { names, first, last }) });
  const [loss, ...others] = CHARTS;
  const all = [lossOf(loss, more), ...others.map((chart) => ({ ...chart, optional: true })), ...more.map(chartOf)];
  const element = h("div", { class: "stack" }, charts.tools.element, h("div", { class: "charts" }, all.map((options) => charts.add(options))));
  return { element, charts, names };
}

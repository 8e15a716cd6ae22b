// Comparison of two jobs: shared charts, and the settings that differ.

import { all, get } from "./api.js";
import { Charts } from "./chart.js";
import { readCurves, readSteps } from "./curves.js";
import { $, empty, h, plain, put, table } from "./dom.js";
import { ACTIVE, duration, number, percent, value } from "./format.js";
import { dismiss, every, persist, tell } from "./notices.js";
import { flat, pill, times } from "./parts.js";

const EVERY_MS = 5000;
const POINTS = 400;
const SHOWN = [
  ["loss", "Loss", {}], ["knn_top1", "kNN accuracy, top-1", { ticks: ".0%" }], ["classifier_top1", "Accuracy of the classifier", { ticks: ".0%" }], ["top1", "Contrastive accuracy, top-1", { ticks: ".0%", fromZero: true }],
  ["embedding_std_ratio", "Embedding spread (collapse check)", { fromZero: true }], ["rows_per_s", "Throughput, images/s", { fromZero: true }], ["lr", "Learning rate", { fromZero: true }],
];
const COLOURS = { a: "--series-1", b: "--series-2" };

const root = $("compare");
const picked = new URLSearchParams(location.search);
let charts = null;

async function begin() {
  const jobs = await all("/v1/jobs", 200);
  if (jobs.length < 2) return put(root, empty("Nothing to compare yet", "Start at least two jobs.", h("a", { class: "button primary", href: "/ui/submit" }, "New job")));
  if (!picked.get("a")) picked.set("a", jobs[0].id);
  if (!picked.get("b") || picked.get("b") === picked.get("a")) picked.set("b", jobs.find((one) => one.id !== picked.get("a")).id);
  const body = h("div", { class: "stack" });
  put(root, h("section", { class: "card fields" }, ["a", "b"].map((side) => chooser(side, jobs, body))), body);
  try {
    await show(body);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    tell(problem);
  }
  every(EVERY_MS, () => charts && refresh(body));
  return undefined;
}

function chooser(side, jobs, body) {
  const select = h("select", { id: `pick-${side}`, onchange: (event) => {
    picked.set(side, event.target.value);
    history.replaceState(null, "", `?${picked}`);
    show(body).then(() => dismiss("problem"), tell);
  } }, jobs.some((job) => job.id === picked.get(side)) ? null : h("option", { value: "", selected: true, disabled: true }, "(job not in this list)"), jobs.map((job) => h("option", { value: job.id, selected: job.id === picked.get(side) }, `${job.name} · ${job.id.slice(-6)} · ${job.status}`)));
  return h("div", { class: "field" }, h("label", { for: `pick-${side}` }, h("span", { class: `swatch ${side === "b" ? "second" : ""}`, "aria-hidden": "true" }), ` Job ${side.toUpperCase()}`), select);
}

async function read() {
  const ids = ["a", "b"].map((side) => picked.get(side));
  const names = SHOWN.map(([name]) => name);
  const jobs = await Promise.all(ids.map((id) => get(`/v1/jobs/${id}`)));
  const curves = await Promise.all(ids.map((id) => readCurves(id, { names, points: POINTS })));
  return { jobs, curves };
}

async function show(body) {
  const found = await read();
  charts = new Charts({ finer });
  const [a, b] = found.jobs;
  document.title = plain(`${a.name} and ${b.name} · mocoserve`);
  put(body,
    h("section", { class: "card", id: "results" }, h("h2", {}, "Results"), results(found.jobs)),
    charts.tools.element,
    h("div", { class: "charts" }, SHOWN.map(([name, title, options]) => charts.add({
      title, ...options,
      series: ["a", "b"].map((side, place) => ({ name: `${side}:${name}`, label: `${side.toUpperCase()}: ${found.jobs[place].name}`, color: COLOURS[side] })),
    }))),
    h("section", { class: "card" }, h("h2", {}, "Settings that differ"), differences(a, b)));
  charts.set(merged(found.curves));
}

async function refresh(body) {
  const states = await Promise.all(["a", "b"].map((side) => get(`/v1/jobs/${picked.get(side)}`)));
  if (!states.some((job) => ACTIVE.has(job.status))) return;
  const found = await read();
  charts.set(merged(found.curves));
  put(body.querySelector("#results"), h("h2", {}, "Results"), results(found.jobs));
}

/** Return the points of both jobs between two steps. */
async function finer(first, last) {
  const names = SHOWN.map(([name]) => name);
  const found = await Promise.all(["a", "b"].map((side) => readSteps(picked.get(side), { names, points: POINTS, first, last })));
  return { series: merged(found.map(({ series }) => series)), sampled: found.some(({ sampled }) => sampled) };
}

function merged(curves) {
  return Object.fromEntries(["a", "b"].flatMap((side, place) => Object.entries(curves[place]).map(([name, curve]) => [`${side}:${name}`, curve])));
}

function results(jobs) {
  const of = (name, form = number) => jobs.map((job) => form(job.progress.signals?.[name]));
  const rows = [
    ["Status", ...jobs.map((job) => pill(job.status))],
    ["Verdict", ...jobs.map((job) => job.progress.verdict?.word ?? "–")],
    ["Accuracy of the classifier", ...of("classifier_top1", percent)], ["kNN top-1", ...of("knn_top1", percent)], ["kNN top-1, raw input", ...of("knn_top1_raw", percent)], ["kNN top-1, untrained encoder", ...of("knn_top1_untrained", percent)], ["Loss", ...of("loss")], ["Embedding spread", ...of("embedding_std_ratio")],
    ["Run time", ...jobs.map((job) => duration(times(job)[1]))], ["Steps", ...jobs.map((job) => number(job.progress.step))],
  ];
  const heads = jobs.map((job, place) => h("a", { href: `/ui/jobs/${job.id}` }, `${"AB"[place]}: ${job.name}`));
  return table(["", ...heads], rows, { caption: "Latest results" });
}

function differences(a, b) {
  const [left, right] = [new Map(flat(a.resolved)), new Map(flat(b.resolved))];
  const rows = [...new Set([...left.keys(), ...right.keys()])]
    .filter((field) => JSON.stringify(left.get(field)) !== JSON.stringify(right.get(field)))
    .map((field) => [h("code", {}, field), ...[left, right].map((side) => (side.has(field) ? value(side.get(field)) : "–"))]);
  if (!rows.length) return h("p", { class: "muted" }, "None: both jobs use the same settings.");
  return table(["field", "A", "B"], rows);
}

persist(begin).catch((problem) => tell(problem));

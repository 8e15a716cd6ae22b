// Tab of a job: figures of its evaluators with intervals and baselines, tables, and curves such as ROC.

import { get } from "./api.js";
import { empty, h, put, svg, table } from "./dom.js";
import { number, percent, plainName } from "./format.js";

const BASELINES = ["raw input", "untrained encoder", "majority class"];
const COLORS = { "trained encoder": "--series-1", "untrained encoder": "--series-2", "raw input": "--series-3" };
const ROWS_MAX = 200;
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colorOf = (features) => token(COLORS[features] ?? "--series-4");

export async function evaluation(element, { job }) {
  let found;
  try {
    found = await get(`/v1/jobs/${job.id}/evaluation`);
  } catch (problem) {
    if (problem.status !== 409) throw problem;
    return put(element, empty("No evaluation yet", problem.detail, h("p", { class: "muted" }, problem.hint)));
  }
  return put(element, h("div", { class: "stack" },
    found.evaluators.filter((each) => each.result).map((each) => card(each, found)),
    found.not_measured.map((text) => h("section", { class: "card" }, h("p", {}, text)))));
}

function card(each, { figures, tables }) {
  const { result } = each;
  return h("section", { class: "card stack", "data-evaluator": each.name },
    h("h2", {}, each.name),
    h("p", { class: "muted" }, `Measured after step ${number(result.step)}, epoch ${number(result.epoch)}.`),
    figureTable(each, figures),
    result.notes.map((note) => h("p", {}, note)),
    Object.entries(result.tables).filter(([, rows]) => rows.length).map(([name, rows]) => shown(name, rows, { meaning: tables[each.name]?.[name], baselines: each.baselines?.tables?.[name] ?? [] })));
}

/** Return the figures, each with its interval and its baselines. */
function figureTable({ result, baselines }, meanings) {
  const others = baselines?.figures ?? [];
  const columns = BASELINES.filter((name) => others.some((figure) => figure.features === name));
  const value = (figure, ratio) => (ratio === null || ratio === undefined ? "–" : meanings[figure.name]?.unit === "ratio" ? percent(ratio) : number(ratio));
  const rows = result.figures.map((figure) => [
    h("span", { title: figure.name }, meanings[figure.name]?.meaning ?? plainName(figure.name)), value(figure, figure.value),
    figure.low === null ? "–" : `${value(figure, figure.low)} to ${value(figure, figure.high)}`, number(figure.n),
    ...columns.map((name) => value(figure, others.find((one) => one.name === figure.name && one.features === name)?.value)),
  ]);
  return table(["Figure", "Value", "95 % interval", "n", ...columns], rows, { caption: "Figures", numbers: [1, 2, 3, ...columns.map((_, place) => 4 + place)] });
}

function shown(name, rows, { meaning, baselines }) {
  const title = meaning?.title ?? plainName(name);
  if (meaning?.x) return curve(title, [...baselines, ...rows], meaning);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numbers = columns.map((column, place) => (rows.some((row) => typeof row[column] === "number") ? place : -1)).filter((place) => place >= 0);
  const cells = rows.slice(0, ROWS_MAX).map((row) => columns.map((column) => (typeof row[column] === "number" ? number(row[column]) : String(row[column] ?? "–"))));
  const rest = rows.length - cells.length;
  return h("details", {}, h("summary", {}, title),
    table(columns.map((column) => h("span", { title: meaning?.columns?.[column] ?? null }, plainName(column))), cells, { caption: title, numbers }),
    rest > 0 ? h("p", { class: "muted" }, `${number(rest)} more rows are in evaluation.json.`) : null);
}

/** Return a chart of one line for each kind of features, on axes from 0 to 1 or to the largest value. */
function curve(title, rows, { x, y, columns }) {
  const groups = new Map();
  for (const row of rows) {
    const name = row.features ?? "trained encoder";
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const end = (column) => Math.max(1e-9, ...rows.map((row) => row[column]).filter(Number.isFinite));
  const scale = { x: unitOr(end(x)), y: unitOr(end(y)) };
  const at = (row) => `${(40 + (350 * row[x]) / scale.x).toFixed(1)},${(250 - (240 * row[y]) / scale.y).toFixed(1)}`;
  const lines = [...groups].map(([name, found]) => svg("path", { d: `M${found.map(at).join("L")}`, class: "curve-line", stroke: colorOf(name), "data-features": name }, svg("title", {}, name)));
  const text = (words, attributes) => svg("text", { class: "curve-text", ...attributes }, words);
  return h("figure", { class: "curve tight" },
    h("figcaption", {}, h("h3", {}, title), h("span", { class: "row small" }, [...groups.keys()].map((name) => h("span", { class: "muted" }, svg("svg", { class: "curve-key", viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("path", { d: "M0,5H10", stroke: colorOf(name) })), name)))),
    svg("svg", { viewBox: "-24 0 424 290", role: "img", "aria-label": `${title}: ${columns[y] ?? y} over ${columns[x] ?? x}` },
      [0, 0.25, 0.5, 0.75, 1].map((share) => [
        svg("path", { d: `M40,${250 - 240 * share}H390`, class: "curve-grid" }),
        text(number(share * scale.y), { x: 36, y: 254 - 240 * share, "text-anchor": "end" }),
        text(number(share * scale.x), { x: 40 + 350 * share, y: 266, "text-anchor": "middle" }),
      ]).flat(),
      lines,
      text(columns[x] ?? x, { x: 215, y: 284, "text-anchor": "middle" }),
      text(columns[y] ?? y, { x: -130, y: -12, transform: "rotate(-90)", "text-anchor": "middle" })));
}

const unitOr = (largest) => (largest <= 1 ? 1 : largest);

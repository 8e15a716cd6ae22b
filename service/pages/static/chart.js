// One chart: curves over the steps that grow while somebody looks, and keep the zoom.

import { h, svg } from "./dom.js";
import { number, percent } from "./format.js";

const POINTS_MAX = 4000;
const REDRAW_MS = 400;

let library = null;

/** plotly.js, loaded once and only on pages that draw. */
export function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = h("script", { src: `${document.body.dataset.static}/plotly.min.js` });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("the charts' library did not load"));
    document.head.append(script);
  });
  return library;
}

/** The sketch is on the screen: reading the library takes a while, in which nothing else moves. */
const painted = () => new Promise((go) => { requestAnimationFrame(() => setTimeout(go)); });

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Charts that share one range of steps: zooming in one zooms all. */
export class Charts {
  constructor() {
    this.charts = [];
    this.range = null;
    this.turn = Promise.resolve();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.charts.forEach((one) => one.draw()));
  }

  add(options) {
    const made = new Chart(this, options);
    this.charts.push(made);
    return made.element;
  }

  /** Takes the whole curves: {name: {step: [], value: []}}. */
  set(series) {
    this.charts.forEach((one) => one.set(series));
  }

  /** Takes one more reading: {name: value}. */
  push(step, signals) {
    this.charts.forEach((one) => one.push(step, signals));
  }

  zoom(range, from) {
    this.range = range;
    this.charts.filter((one) => one !== from).forEach((one) => one.draw());
  }
}

class Chart {
  /** options: {title, text, series: [{name, label, color, dash}], also, unit, wide, bands(series)} */
  constructor(group, options) {
    this.group = group;
    this.options = options;
    this.series = {};
    this.drawn = false;
    this.seen = false;
    this.now = h("span", { class: "now" });
    this.plot = h("div", { class: "plot waiting", role: "img", "aria-label": options.title });
    this.element = h("section", { class: `chart ${options.wide ? "wide" : ""}`, "data-chart": options.series[0].name },
      h("header", {}, h("h3", {}, options.title), this.now, options.text ? h("p", {}, options.text) : null), this.plot);
    // A chart out of sight is not drawn: most of a page's time goes into charts.
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen && this.stale) this.draw();
    }, { rootMargin: "80px" }).observe(this.element);
  }

  /** Signals that it shows, and those that only its bands need. */
  signals() {
    return [...this.options.series, ...(this.options.also ?? [])];
  }

  set(series) {
    for (const { name } of this.signals()) {
      const found = series[name];
      this.series[name] = found ? { step: [...found.step], value: [...found.value] } : { step: [], value: [] };
    }
    this.draw();
  }

  push(step, signals) {
    let changed = false;
    for (const { name } of this.signals()) {
      const mine = this.series[name] ?? (this.series[name] = { step: [], value: [] });
      if (!Number.isFinite(signals[name]) || step <= (mine.step.at(-1) ?? -1)) continue;
      mine.step.push(step);
      mine.value.push(signals[name]);
      if (mine.step.length > POINTS_MAX) this.series[name] = halved(mine);
      changed = true;
    }
    if (changed) this.soon();
  }

  soon() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      requestAnimationFrame(() => this.draw());
    }, REDRAW_MS);
  }

  /** Draws what is known, one drawing after the other. */
  draw() {
    this.stale = true;
    if (!this.drawn) this.sketch();
    // The charts share one queue, so that the first one is there before the others begin.
    this.group.turn = this.group.turn.then(() => this.drawOnce()).catch((error) => console.error(error));
    return this.group.turn;
  }

  /** The curves at once, without axes, until the charts' library has been read. */
  sketch() {
    const shown = this.options.series.map(({ name, color = "--series-1" }) => ({ ...this.series[name], color })).filter(({ step }) => step?.length > 1);
    this.plot.replaceChildren(shown.length ? sketched(shown) : this.has() ? "" : "No reading yet");
  }

  has() {
    return this.options.series.some(({ name }) => this.series[name]?.step.length);
  }

  async drawOnce() {
    if (!this.seen || !this.stale || !this.has()) return;
    if (!this.drawn) await painted();
    const Plotly = await plotly();
    this.stale = false;
    if (!this.drawn) {
      this.plot.replaceChildren();
      this.plot.classList.remove("waiting");
    }
    const latest = this.series[this.options.series[0].name]?.value.at(-1);
    this.now.textContent = latest === undefined ? "" : this.worded(latest);
    await Plotly.react(this.plot, this.traces(), this.layout(), { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: "reset" });
    if (!this.drawn) this.listen();
    this.drawn = true;
  }

  worded(value) {
    if (this.options.ticks?.endsWith("%")) return percent(value);
    return `${number(value)}${this.options.unit ? ` ${this.options.unit}` : ""}`;
  }

  listen() {
    this.plot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) this.group.zoom([change["xaxis.range[0]"], change["xaxis.range[1]"]], this);
      else if ("xaxis.autorange" in change) this.group.zoom(null, this);
    });
  }

  traces() {
    return this.options.series.map(({ name, label, color = "--series-1", dash = "solid" }) => {
      const { step, value } = this.series[name] ?? { step: [], value: [] };
      return {
        x: step, y: value, name: label, type: "scatter", mode: step.length === 1 ? "markers" : "lines",
        line: { color: token(color), width: dash === "solid" ? 2 : 1.5, dash }, marker: { color: token(color) },
        hovertemplate: "%{y:.4g}",
      };
    });
  }

  layout() {
    const axis = { gridcolor: token("--line"), linecolor: token("--line"), zeroline: false, tickfont: { size: 11 }, automargin: true };
    const several = this.options.series.length > 1;
    return {
      uirevision: "keep",
      margin: { l: 8, r: 8, t: several ? 26 : 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: token("--muted") },
      showlegend: several, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      hovermode: "x unified", hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line"), font: { color: token("--text") } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...(this.group.range ? { range: this.group.range, autorange: false } : { autorange: true }), nticks: 8, tickformat: ",d", hoverformat: ",d", title: { text: "step", font: { size: 11 }, standoff: 4 } },
      yaxis: { ...axis, autorange: true, nticks: 6, fixedrange: false, rangemode: this.options.fromZero ? "tozero" : "normal", tickformat: this.options.ticks ?? "" },
      shapes: this.options.bands?.(this.series).shapes ?? [],
      annotations: this.options.bands?.(this.series).annotations ?? [],
    };
  }
}

/** Curves that share their axes, as one picture. */
function sketched(curves) {
  const span = (values) => [Math.min(...values), Math.max(...values)];
  const [left, right] = span(curves.flatMap(({ step }) => [step[0], step.at(-1)]));
  const [low, high] = span(curves.flatMap(({ value }) => span(value)));
  const x = (step) => (100 * (step - left) / (right - left || 1)).toFixed(2);
  const y = (value) => (98 - 96 * (value - low) / (high - low || 1)).toFixed(2);
  return svg("svg", { class: "sketch", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    curves.map(({ step, value, color }) => svg("path", { d: `M${step.map((at, place) => `${x(at)},${y(value[place])}`).join("L")}`, stroke: token(color) })));
}

/** Every second point less, the first and the last kept. */
function halved({ step, value }) {
  const keep = (_, place) => place % 2 === 0 || place === step.length - 1;
  return { step: step.filter(keep), value: value.filter(keep) };
}

/** A shaded range with a word: along the steps, or along the values. */
export function band(color, { x0, x1, y0, y1, text }) {
  const along = x0 !== undefined;
  const place = along ? { x0, x1, y0: 0, y1: 1, xref: "x", yref: "paper" } : { x0: 0, x1: 1, y0, y1, xref: "paper", yref: "y" };
  return {
    shape: { type: "rect", ...place, fillcolor: token(color), opacity: 0.1, line: { width: 0 }, layer: "below" },
    annotation: {
      text, showarrow: false, font: { size: 11, color: token(color) }, xanchor: "left", yanchor: "bottom",
      ...(along ? { x: x0, y: 0, xref: "x", yref: "paper", xshift: 4 } : { x: 0, y: y0, xref: "paper", yref: "y", xshift: 4 }),
    },
  };
}

export function bands(...found) {
  const there = found.filter(Boolean);
  return { shapes: there.map((one) => one.shape), annotations: there.map((one) => one.annotation) };
}

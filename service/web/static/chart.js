// One chart: curves over steps that grow live and keep the zoom.

import { sketched } from "./chart_marks.js";
import { toolsOf } from "./chart_tools.js";
import { h } from "./dom.js";
import { number, percent } from "./format.js";
import { dismiss, tell } from "./notices.js";
import { keepView, readView, smoothed } from "./smoothing.js";

const POINTS_MAX = 4000;
const STEP_TICKS_MAX = 8;
const REDRAW_MS = 400;
const ASK_MS = 200;
const AGAIN_MS = 1500;

let library = null;

/** plotly.js, loaded once and only on pages that draw. */
export function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = h("script", { src: `${document.body.dataset.static}/plotly.min.js` });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.js did not load"));
    document.head.append(script);
  });
  return library;
}

/** Wait until the sketch is painted: loading the library blocks the page for a while. */
const painted = () => new Promise((go) => { requestAnimationFrame(() => setTimeout(go)); });

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Charts that share one range of steps: zooming in one zooms all. */
export class Charts {
  /**
   * `finer(first, last)` returns {series, sampled} of these steps alone, because a whole curve is
   * downsampled.
   */
  constructor({ finer = null } = {}) {
    this.finer = finer;
    this.charts = [];
    this.view = readView();
    this.range = null;
    this.fine = null;
    this.wholes = 0;
    this.asked = 0;
    this.turn = Promise.resolve();
    this.tools = toolsOf(this);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  add(options) {
    const made = new Chart(this, options);
    this.charts.push(made);
    return made.element;
  }

  draw() {
    this.charts.forEach((one) => one.draw());
  }

  /** Set the whole curves: {name: {step: [], value: []}}. */
  set(series) {
    this.charts.forEach((one) => one.set(series));
    this.ask();
  }

  /** Append one reading: {name: value}. */
  push(step, signals) {
    this.charts.forEach((one) => one.push(step, signals));
  }

  /** Change the view of all charts: {smoothing, log}. */
  look(change) {
    Object.assign(this.view, change);
    keepView(this.view);
    this.draw();
  }

  /** Zoom to the steps [first, last]; null shows all. */
  zoom(range, from = null) {
    this.range = range;
    if (!range) {
      this.fine = null;
      this.wholes += 1;
    }
    this.charts.filter((one) => one !== from).forEach((one) => one.draw());
    this.tools.show();
    this.ask();
  }

  /** Request finer points of the visible steps, once zooming pauses. */
  ask(waitMs = ASK_MS) {
    clearTimeout(this.timer);
    this.asked += 1;
    if (!this.range || !this.finer) return dismiss("finer");
    const mine = this.asked;
    this.timer = setTimeout(async () => {
      const first = Math.max(0, Math.floor(this.range[0]));
      const last = Math.max(first, Math.ceil(this.range[1]));
      try {
        const { series, sampled } = await this.finer(first, last);
        if (mine !== this.asked) return;
        this.fine = { first, series };
        dismiss("finer");
        this.draw();
        if (sampled) this.ask(AGAIN_MS);
      } catch (problem) {
        if (mine === this.asked) tell(problem, "finer");
      }
    }, waitMs);
    return undefined;
  }
}

class Chart {
  /** options: {title, text, series: [{name, label, color, dash}], also, unit, wide, linear, optional, bands(series, {log, range})} */
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
    // A chart out of view is not drawn: charts take most of the page's time.
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen && this.stale) this.draw();
    }, { rootMargin: "80px" }).observe(this.element);
  }

  /** Return the signals of its curves and of its bands. */
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

  /** Draw the current data, one chart at a time. */
  draw() {
    this.stale = true;
    this.element.hidden = Boolean(this.options.optional) && !this.has();
    if (!this.drawn) this.sketch();
    // The charts share one queue, so that the first one is complete before the others begin.
    this.group.turn = this.group.turn.then(() => this.drawOnce()).catch((error) => console.error(error));
    return this.group.turn;
  }

  /** Draw the curves without axes until the chart library is loaded. */
  sketch() {
    const shown = this.options.series.map(({ name, color = "--series-1" }) => ({ ...this.series[name], color })).filter(({ step }) => step?.length > 1);
    this.plot.replaceChildren(shown.length ? sketched(shown) : this.has() ? "" : "No data yet");
  }

  has() {
    return this.options.series.some(({ name }) => this.series[name]?.step.length);
  }

  /** Return a curve with finer points inside the zoomed range. */
  curve(name) {
    const whole = this.series[name] ?? { step: [], value: [] };
    const fine = this.group.fine?.series[name];
    if (!fine?.step.length) return whole;
    const { first } = this.group.fine;
    const before = whole.step.findIndex((step) => step >= first);
    const end = before < 0 ? whole.step.length : before;
    const after = whole.step.findIndex((step) => step > fine.step.at(-1));
    const joined = (key) => [...whole[key].slice(0, end), ...fine[key], ...(after < 0 ? [] : whole[key].slice(after))];
    return { step: joined("step"), value: joined("value") };
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
    await Plotly.react(this.plot, this.traces(), this.layout(), { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: false });
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
    });
    this.plot.on("plotly_doubleclick", () => this.group.zoom(null));
  }

  traces() {
    return this.options.series.flatMap(({ name, label, color = "--series-1", dash = "solid" }) => {
      const { step, value } = this.curve(name);
      if (!step.length) return [];
      const { smoothing } = this.group.view;
      const made = {
        x: step, y: value, name: label, type: "scatter", mode: step.length === 1 ? "markers" : "lines",
        line: { color: token(color), width: dash === "solid" ? 2 : 1.5, dash }, marker: { color: token(color) },
        hovertemplate: "%{y:.4g}",
      };
      if (!smoothing || dash !== "solid" || step.length < 3) return [made];
      const raw = { ...made, name: `${label}, unsmoothed`, line: { ...made.line, width: 1 }, opacity: 0.3, showlegend: false, hovertemplate: null, hoverinfo: "skip" };
      return [raw, { ...made, y: smoothed(value, smoothing) }];
    });
  }

  /** Return the settings of the ticks. Between a few steps, plotly.js would label halves as whole steps. */
  stepTicks() {
    const ends = this.options.series.flatMap(({ name }) => [this.series[name]?.step[0], this.series[name]?.step.at(-1)]).filter(Number.isFinite);
    const [first, last] = this.group.range ?? [Math.min(...ends), Math.max(...ends)];
    return last - first <= STEP_TICKS_MAX ? { tick0: 0, dtick: 1 } : { nticks: STEP_TICKS_MAX };
  }

  layout() {
    const axis = { gridcolor: token("--line"), linecolor: token("--line"), zeroline: false, tickfont: { size: 11 }, automargin: true };
    const several = this.options.series.length > 1;
    const { range, wholes, view } = this.group;
    const log = view.log && !this.options.linear;
    const shaded = this.options.bands?.(this.series, { log, range }) ?? { shapes: [], annotations: [] };
    return {
      // A zoom survives redraws until the whole run is shown again.
      uirevision: `${wholes}`,
      margin: { l: 8, r: 8, t: several ? 26 : 8, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: token("--muted") },
      showlegend: several, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      hovermode: "x unified", hoverlabel: { bgcolor: token("--surface"), bordercolor: token("--line"), font: { color: token("--text") } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, ...(range ? { range, autorange: false } : { autorange: true }), ...this.stepTicks(), tickformat: ",d", hoverformat: ",d", title: { text: "step", font: { size: 11 }, standoff: 4 } },
      yaxis: {
        ...axis, type: log ? "log" : "linear", uirevision: `${wholes} ${log}`, autorange: true, nticks: 6, fixedrange: false,
        rangemode: this.options.fromZero ? "tozero" : "normal", tickformat: this.options.ticks ?? "",
      },
      shapes: shaded.shapes,
      annotations: shaded.annotations,
    };
  }
}

/** Drop every second point; keep the first and the last. */
function halved({ step, value }) {
  const keep = (_, place) => place % 2 === 0 || place === step.length - 1;
  return { step: step.filter(keep), value: value.filter(keep) };
}

// Bands of a chart, and its sketch until it is drawn.

import { svg } from "./dom.js";

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return curves with shared axes as one SVG. */
export function sketched(curves) {
  const span = (values) => [Math.min(...values), Math.max(...values)];
  const [left, right] = span(curves.flatMap(({ step }) => [step[0], step.at(-1)]));
  const [low, high] = span(curves.flatMap(({ value }) => span(value)));
  const x = (step) => (100 * (step - left) / (right - left || 1)).toFixed(2);
  const y = (value) => (98 - 96 * (value - low) / (high - low || 1)).toFixed(2);
  return svg("svg", { class: "sketch", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    curves.map(({ step, value, color }) => svg("path", { d: `M${step.map((at, place) => `${x(at)},${y(value[place])}`).join("L")}`, stroke: token(color) })));
}

/** Return a shaded range of steps or of values with a label; on a log scale `y0` is above 0. `textAt` is the step
 *  of the label. */
export function band(color, { x0, x1, y0, y1, text, log = false, textAt = x0 }) {
  const along = x0 !== undefined;
  const place = along ? { x0, x1, y0: 0, y1: 1, xref: "x", yref: "paper" } : { x0: 0, x1: 1, y0, y1, xref: "paper", yref: "y" };
  return {
    shape: { type: "rect", ...place, fillcolor: token(color), opacity: 0.1, line: { width: 0 }, layer: "below" },
    annotation: {
      text, showarrow: false, font: { size: 11, color: token(color) }, xanchor: "left", yanchor: "bottom",
      ...(along ? { x: textAt, y: 0, xref: "x", yref: "paper", xshift: 4 } : { x: 0, y: log ? Math.log10(y0) + 0.01 : y0, xref: "paper", yref: "y", xshift: 4 }),
    },
  };
}

export function bands(...found) {
  const there = found.filter(Boolean);
  return { shapes: there.map((one) => one.shape), annotations: there.map((one) => one.annotation) };
}

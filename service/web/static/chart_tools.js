// Tools above charts: smoothing, scale and range of steps; all work by keyboard.

import { h } from "./dom.js";

const SMOOTHEST = 0.99;

/** The tools of a group of charts. Returns {element, show()}; `show` updates them from the group. */
export function toolsOf(charts) {
  const { view } = charts;
  const said = h("output", { for: "smoothing" }, view.smoothing.toFixed(2));
  const smoothing = h("input", { type: "range", id: "smoothing", min: "0", max: String(SMOOTHEST), step: "0.01", value: String(view.smoothing), oninput: () => {
    said.textContent = Number(smoothing.value).toFixed(2);
    charts.look({ smoothing: Number(smoothing.value) });
  } });
  const log = h("input", { type: "checkbox", id: "log-scale", checked: view.log, onchange: () => charts.look({ log: log.checked }) });
  const steps = ["from", "to"].map((word) => h("input", { id: `steps-${word}`, inputmode: "numeric", autocomplete: "off", "aria-describedby": "steps-error" }));
  const wrong = h("span", { class: "error small", id: "steps-error", role: "alert" });
  const whole = h("button", { type: "button", id: "steps-whole", onclick: () => charts.zoom(null) }, "Whole run");

  function zoom() {
    const [first, last] = steps.map((one) => (/^\d{1,15}$/.test(one.value.trim()) ? Number(one.value) : null));
    const isGood = first !== null && last !== null && first < last;
    steps.forEach((one) => (isGood ? one.removeAttribute("aria-invalid") : one.setAttribute("aria-invalid", "true")));
    wrong.textContent = isGood ? "" : "Enter two step numbers, the smaller one first.";
    if (isGood) charts.zoom([first, last]);
    else steps[0].focus();
  }

  function show() {
    const { range } = charts;
    whole.disabled = !range;
    wrong.textContent = "";
    steps.forEach((one, place) => {
      one.removeAttribute("aria-invalid");
      if (one !== document.activeElement || !range) one.value = range ? String(Math.max(0, Math.round(range[place]))) : "";
    });
  }

  const element = h("form", { class: "chart-tools", novalidate: true, "aria-label": "Chart options", onsubmit: (event) => { event.preventDefault(); zoom(); } },
    h("div", { class: "tool" }, h("label", { for: "smoothing" }, "Smoothing"), smoothing, said),
    h("label", { class: "tool" }, log, "Log scale"),
    h("fieldset", { class: "tool" }, h("legend", { class: "hidden-label" }, "Steps shown"),
      h("label", { for: "steps-from" }, "Steps"), steps[0], h("label", { for: "steps-to" }, "to"), steps[1],
      h("button", {}, "Zoom"), whole),
    wrong, h("p", { class: "muted small hint" }, "Drag to zoom, double-click to reset."));
  show();
  return { element, show };
}

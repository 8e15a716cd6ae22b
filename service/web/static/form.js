// A form made from the fields of a schema. It holds only changed values; the rest is suggested.

import { h, prose, put } from "./dom.js";
import { value as said } from "./format.js";

/** Words beside the switch of an optional object. */
const SWITCHES = {
  batching: "Balance batches by label",
  early_stop: "Stop early",
  evaluation: "Evaluate during training",
  init_from: "Begin with given weights",
  "views.second": "Other settings for the second view",
};

export class Form {
  /** `onChange()` is called after each change of a value. */
  constructor(onChange) {
    this.onChange = onChange;
    this.values = new Map();
    this.inputs = new Map();
    this.unions = new Map();
    this.wholes = new Map();
    this.reasons = new Map();
  }

  /** The element of one field, and of those inside it. */
  field(field, { label = title(field.name), choices = null } = {}) {
    if (field.kind === "union") return this.union(field);
    if (field.kind === "object") return this.object(field);
    const id = `f-${field.path}`;
    const make = { choice: "choice", flag: "flag", pair: "pair", several: "several", integer: "number", number: "number" }[choices ? "choice" : field.kind] ?? "text";
    const input = this[make](id, { ...field, choices: choices ?? field.choices });
    const reason = h("span", { class: "reason" });
    const error = h("span", { class: "error", id: `${id}-error`, role: "alert" });
    this.inputs.set(field.path, { input, reason, error, field: { ...field, choices: choices ?? field.choices } });
    const named = make === "pair" || make === "flag" || make === "several";
    const group = named ? { role: "group", "aria-label": label } : {};
    return h("div", { class: "field", "data-field": field.path, ...group },
      named ? h("span", { class: "label" }, h("strong", {}, label)) : h("label", { for: id }, label),
      make === "flag" ? h("label", { class: "check" }, input, h("span", {}, "yes")) : input,
      error, reason, h("span", { class: "help" }, prose(field.help)));
  }

  object({ path, fields, nullable, fallback }) {
    const box = h("div", { class: "fields" }, fields.map((one) => this.field(one)));
    return nullable ? this.optional(path, box, fallback) : box;
  }

  /** A box of fields with a switch that sets the whole to null, as it is at first where that is the default. */
  optional(path, box, fallback) {
    const on = h("input", { type: "checkbox", checked: true, onchange: () => {
      show(on.checked ? undefined : null);
      // Where nothing is the default, an object without fields has the default of each.
      const usual = fallback === null ? {} : undefined;
      this.take(path, on.checked ? usual : null);
    } });
    const several = h("p", { class: "muted small", hidden: true });
    const show = (whole) => {
      on.checked = whole !== null;
      box.querySelectorAll(".field").forEach((one) => { one.hidden = whole !== undefined; });
      several.hidden = !whole;
      several.textContent = whole ? `${whole.length} evaluators, copied from the other job.` : "";
    };
    this.wholes.set(path, show);
    if (fallback === null) show(null);
    const reason = h("span", { class: "reason" });
    this.reasons.set(path, reason);
    return h("div", { class: "stack fields-outer" }, h("label", { class: "check field" }, on, SWITCHES[path] ?? "Set these"), reason, several, box);
  }

  /** Return the fields of a union of objects, discriminated by `name`. */
  union({ path, variants, fallback, nullable }) {
    const box = h("div", { class: "fields" });
    const usual = fallback?.name ?? variants[0].name;
    const show = (name) => {
      if (name === input.dataset.shown) return;
      input.dataset.shown = name;
      for (const known of [...this.values.keys()]) if (known.startsWith(`${path}.`)) this.values.delete(known);
      for (const known of [...this.inputs.keys()]) if (known.startsWith(`${path}.`) && known !== `${path}.name`) this.inputs.delete(known);
      put(box, variants.find((one) => one.name === name).fields.filter((one) => one.name !== "name").map((one) => this.field(one)));
    };
    const head = this.field({ path: `${path}.name`, name: "name", kind: "choice", choices: variants.map((one) => one.name), fallback: usual, help: "" }, { label: "Type" });
    const { input } = this.inputs.get(`${path}.name`);
    input.dataset.usual = usual;
    this.unions.set(path, show);
    input.addEventListener("change", () => {
      show(input.value || usual);
      this.take(`${path}.name`, input.value || undefined);
    });
    show(usual);
    const whole = h("div", { class: "stack fields-outer" }, head, box);
    return nullable ? this.optional(path, whole, fallback) : whole;
  }

  /** Choose a member of a union by its name; undefined: the default. */
  choose(path, name) {
    const { input } = this.inputs.get(`${path}.name`);
    input.value = name ?? "";
    input.dispatchEvent(new Event("change"));
  }

  choice(id, { path, choices, fallback, required }) {
    const usual = fallback === null || fallback === undefined ? "recommended" : `${said(fallback)} (default)`;
    return h("select", { id, onchange: (event) => this.take(path, event.target.value || undefined) },
      required ? null : h("option", { value: "" }, usual),
      choices.map((one) => (Array.isArray(one) ? h("option", { value: one[0] }, one[1]) : h("option", { value: one }, one))));
  }

  flag(id, { path, fallback }) {
    return h("input", { id, type: "checkbox", checked: fallback === true, onchange: (event) =>
      this.take(path, event.target.checked === (fallback === true) ? undefined : event.target.checked) });
  }

  /** Checkboxes, one a choice. */
  several(id, { path, choices, named }) {
    const boxes = choices.map((choice, place) => h("input", { id: place ? `${id}-${choice}` : id, type: "checkbox", value: choice, onchange: () => {
      const chosen = boxes.filter((one) => one.checked).map((one) => (named ? { name: one.value } : one.value));
      this.take(path, chosen.length ? chosen : undefined);
    } }));
    return h("div", { class: "row" }, boxes.map((box) => h("label", { class: "check" }, box, h("span", {}, box.value))));
  }

  number(id, { path, fallback }) {
    return h("input", { id, inputmode: "decimal", autocomplete: "off", placeholder: said(fallback ?? "recommended"), oninput: (event) =>
      this.take(path, numberOf(event.target.value)) });
  }

  text(id, { path, fallback, kind }) {
    const read = kind === "list" ? listOf : (text) => text.trim() || undefined;
    return h("input", { id, autocomplete: "off", placeholder: Array.isArray(fallback) ? fallback.join(", ") : fallback ?? "", oninput: (event) => this.take(path, read(event.target.value)) });
  }

  pair(id, { path, fallback, name }) {
    const take = () => {
      const found = parts.map((one) => numberOf(one.value));
      this.take(path, found.every((one) => one === undefined) ? undefined : found.map((one) => one ?? null));
    };
    const parts = ["from", "to"].map((word, place) => h("input", {
      id: place ? `${id}-to` : id, inputmode: "decimal", autocomplete: "off", "aria-label": `${title(name)}, ${word}`,
      placeholder: fallback ? said(fallback[place]) : "recommended", oninput: take,
    }));
    return h("div", { class: "pair" }, parts);
  }

  /** Set or delete a value. It is moved to the end, so that a whole object set to null wins over its fields. */
  take(path, value) {
    this.values.delete(path);
    if (value !== undefined) {
      if (!path.endsWith(".name")) this.nameVariant(path.split(".").slice(0, -1).join("."));
      this.values.set(path, value);
    }
    this.onChange();
  }

  /** Set the name of a union that shows another variant than the default, since a field of that is being set. */
  nameVariant(path) {
    const select = this.inputs.get(`${path}.name`)?.input;
    const { shown, usual } = select?.dataset ?? {};
    if (shown === usual) return;
    select.value = shown;
    this.values.set(`${path}.name`, shown);
  }

  /** Show the value and reason of each omitted field. */
  suggest(resolved, reasons) {
    for (const [path, show] of this.unions) {
      const own = [...this.values.keys()].some((one) => one === path || one.startsWith(`${path}.`));
      const found = path.split(".").reduce((node, name) => node?.[name], resolved)?.name;
      if (!own && found) show(found);
    }
    for (const [path, reason] of this.reasons) {
      const chosen = [...this.values].some(([known, value]) => value !== null && (known === path || known.startsWith(`${path}.`)));
      reason.textContent = !chosen && reasons[path] ? sentence(reasons[path]) : "";
    }
    for (const [path, { input, reason, field }] of this.inputs) {
      const found = path.split(".").reduce((node, name) => node?.[name], resolved);
      const chosen = this.values.has(path);
      reason.textContent = !chosen && reasons[path] ? `${said(found)}: ${reasons[path]}` : "";
      if (found === undefined || found === null) continue;
      if (field.kind === "pair") input.querySelectorAll("input").forEach((one, place) => { one.placeholder = said(found[place]); });
      else if (input.tagName === "SELECT" && reasons[path]) input.options[0].textContent = `${said(found)} (recommended)`;
      else if (input.tagName === "INPUT" && input.type !== "checkbox" && !Array.isArray(found)) input.placeholder = said(found);
    }
  }

  /** Show each error at its field. Returns those without a field. */
  wrong(errors) {
    for (const { input, error } of this.inputs.values()) {
      error.textContent = "";
      each(input, (one) => { one.removeAttribute("aria-invalid"); one.removeAttribute("aria-describedby"); });
    }
    return errors.filter(({ path, detail }) => {
      const known = this.inputs.get(path) ?? this.inputs.get(path.replace(/\.\d+$/, ""));
      if (!known) return true;
      known.error.textContent = detail;
      each(known.input, (one) => { one.setAttribute("aria-invalid", "true"); one.setAttribute("aria-describedby", known.error.id); });
      known.input.closest("details")?.setAttribute("open", "");
      return false;
    });
  }

  /** Fill in null, or a list of several, in place of the fields of an optional object. */
  fillWhole(path, value) {
    this.values.set(path, value);
    this.wholes.get(path)(value);
  }

  /** Fill in values, such as those of another job: [[path, value]]. */
  fill(pairs) {
    for (const [path, value] of pairs.filter(([one]) => one.endsWith(".name"))) {
      const show = this.unions.get(path.replace(/\.name$/, ""));
      if (show) {
        show(value);
        this.inputs.get(path).input.value = value;
        this.values.set(path, value);
      }
    }
    for (const [path, value] of pairs) {
      if (value !== null && this.wholes.has(path)) this.values.set(path, value);
      this.wholes.get(path.split(".").slice(0, -1).join("."))?.(undefined);
      const known = this.inputs.get(path);
      if (!known || value === null || this.unions.has(path.replace(/\.name$/, ""))) continue;
      this.values.set(path, value);
      const { input, field } = known;
      if (field.kind === "flag") input.checked = value;
      else if (field.kind === "several") input.querySelectorAll("input").forEach((one) => { one.checked = value.some((each) => (each.name ?? each) === one.value); });
      else if (field.kind === "pair") input.querySelectorAll("input").forEach((one, place) => { one.value = value[place]; });
      else input.value = Array.isArray(value) ? value.join(", ") : value;
    }
  }
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function each(input, work) {
  (input.matches("input, select") ? [input] : [...input.querySelectorAll("input")]).forEach(work);
}

/** "queue_rows" -> "Queue rows", units as they are. */
export function title(name) {
  const text = name.replaceAll("_", " ").replace(/^gpus$/, "GPUs").replace(/ (px|s)$/, ", $1").replace(/ p$/, ", chance");
  return text[0].toUpperCase() + text.slice(1);
}

/** Return a number, true or false, or the text itself if it is none, so that the service reports the error. */
function numberOf(text) {
  const plain = text.trim().replace(",", ".");
  if (!plain) return undefined;
  if (plain === "true" || plain === "false") return plain === "true";
  return Number.isFinite(Number(plain)) ? Number(plain) : plain;
}

function listOf(text) {
  const found = text.split(/[\s,]+/).filter(Boolean).map(numberOf);
  return found.length ? found : undefined;
}

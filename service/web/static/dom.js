// Elements without markup: every text becomes a text node, so nothing a user wrote can be run.

import { addressOf } from "./address.js";

const LINKS = new Set(["href", "src"]);

/** h("a", {href: "/"}, "text", node, ...). A function is a listener; null, undefined and false are skipped. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, LINKS.has(name) ? addressOf(String(value)) : value === true ? "" : plain(String(value)));
  }
  element.append(...there(children));
  return element;
}

const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** Return a text with visible control characters and bidirectional marks. */
export const plain = (text) => text.replace(UNSAFE, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Return the children without empty ones, texts made plain. */
function there(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "string" ? plain(child) : child));
}

/** Replace all children. */
export function put(element, ...children) {
  element.replaceChildren(...there(children));
  element.removeAttribute("aria-busy");
  return element;
}

export const $ = (id) => document.getElementById(id);

/** Return a button that is disabled while its work runs. */
export function button(label, work, attributes = {}) {
  return h("button", {
    type: "button",
    ...attributes,
    onclick: async (event) => {
      const pressed = event.currentTarget;
      pressed.disabled = true;
      try {
        await work(event);
      } finally {
        pressed.disabled = false;
      }
    },
  }, label);
}

/** Return a button that copies a text and confirms it. */
export function copyButton(text, what) {
  const made = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    made.textContent = "Copied";
    setTimeout(() => { made.textContent = "Copy"; }, 1500);
  }, { class: "copy", "aria-label": `Copy ${what}` });
  return made;
}

/** A command of the command line, ready to copy. */
export function command(text) {
  return h("span", { class: "command" }, h("code", {}, text), copyButton(text, "the command"));
}

/** Return a placeholder for an empty list, with the next step. */
export function empty(title, text, ...next) {
  return h("section", { class: "card empty" }, h("h2", {}, title), h("p", {}, text), ...next);
}

/** A table out of rows of cells; a cell is text or a node. */
export function table(heads, rows, { caption = null, numbers = [] } = {}) {
  const cell = (tag, value, place) =>
    h(tag, { class: numbers.includes(place) ? "number" : null, scope: tag === "th" ? "col" : null }, value);
  return h("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": caption ?? heads.filter(Boolean).join(", ") },
    h("table", {},
      caption && h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head, place) => cell("th", head, place)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, place) => cell("td", value ?? "", place)))))));
}

/** Name and value pairs. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));
}

/** Text whose `words in ticks` become code. */
export function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

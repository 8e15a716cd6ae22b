// Fields of a form that uploads a file, with their errors.

import { h } from "./dom.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Return the input for a new name. */
export const nameInput = () => h("input", { id: "new-name", name: "name", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", maxlength: "128", autocomplete: "off" });

/** Return what is wrong with a name, null if nothing is. */
export function nameProblem(name) {
  if (!name) return "Enter a name.";
  return NAME.test(name) ? null : "Use letters, digits, dots, dashes and underscores; start with a letter or a digit.";
}

/** Run `work`; until it ends, let the browser confirm leaving the page. */
export async function staying(work) {
  const ask = (event) => event.preventDefault();
  window.addEventListener("beforeunload", ask);
  try {
    return await work();
  } finally {
    window.removeEventListener("beforeunload", ask);
  }
}

export function field(input, label, help) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, h("span", { class: "help", id: `${input.id}-help` }, help), h("span", { class: "error", id: `${input.id}-error`, role: "alert" }));
}

export function suggest(name, file) {
  const [chosen] = file.files;
  if (chosen && !name.value) name.value = chosen.name.replace(/(\.tar)?\.[A-Za-z]+$/, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
}

export function wrong(input, text) {
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", `${input.id}-error`);
  document.getElementById(`${input.id}-error`).textContent = text;
  input.focus();
}

export function clear(form) {
  form.querySelectorAll("[aria-invalid]").forEach((one) => one.removeAttribute("aria-invalid"));
  form.querySelectorAll(".error").forEach((one) => { one.textContent = ""; });
}

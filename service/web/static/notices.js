// Notices above the page: problems with their next step, and confirmations.

import { signInAddress } from "./api.js";
import { $, h, prose } from "./dom.js";

const shown = new Map();

/** Show a notice, or update the one with this name. */
export function notice(name, kind, title, text = "", action = null) {
  const key = JSON.stringify([kind, title, text]);
  if (shown.get(name)?.key === key) return;
  shown.get(name)?.element.remove();
  const close = h("button", { type: "button", onclick: () => dismiss(name) }, "Dismiss");
  const element = h("div", { class: `notice is-${kind}`, "data-notice": name },
    h("strong", {}, title), h("span", {}, prose(text)), action ?? close);
  $("notices").append(element);
  shown.set(name, { key, element });
}

export function dismiss(name) {
  shown.get(name)?.element.remove();
  shown.delete(name);
}

/** Show a confirmation for some seconds. */
export function done(text) {
  notice("done", "ok", text);
  setTimeout(() => dismiss("done"), 6000);
}

/** Show a problem with its next step. Any other error is a bug of the page. */
export function tell(problem, name = "problem") {
  if (!("code" in problem)) {
    notice(name, "bad", "Something went wrong on this page.", "Reload it. Jobs are not affected.");
    throw problem;
  }
  const text = [problem.detail, problem.hint].filter(Boolean).join(" ");
  const again = problem.status === 401 ? h("a", { class: "push", href: signInAddress() }, "Sign in") : null;
  notice(name, problem.code === "away" ? "warn" : "bad", `${problem.title}.`, text, again);
}

/** Run `work` and show its error. Returns whether it succeeded. */
export async function attempt(work, said = null) {
  try {
    await work();
    dismiss("problem");
    if (said) done(said);
    return true;
  } catch (problem) {
    tell(problem);
    return false;
  }
}

const AGAIN_MS = 2000;

/** Retry `work` until the service responds, so that the page need not be reloaded. */
export async function persist(work) {
  for (;;) {
    try {
      const found = await work();
      dismiss("away");
      return found;
    } catch (problem) {
      if (problem.code !== "away" && problem.code !== "unavailable") {
        dismiss("away");
        throw problem;
      }
      tell(problem, "away");
      await new Promise((go) => { setTimeout(go, AGAIN_MS); });
    }
  }
}

/** Run `work` now and at an interval while the page is visible; show errors until they pass. */
export function every(ms, work) {
  let timer = null;
  let failures = 0;
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await work();
      failures = 0;
      dismiss("away");
    } catch (problem) {
      failures += 1;
      tell(problem, "away");
    }
    timer = setTimeout(turn, Math.min(30000, ms * 2 ** Math.min(failures, 3)));
  };
  document.addEventListener("visibilitychange", turn);
  const first = turn();
  return { now: turn, first };
}

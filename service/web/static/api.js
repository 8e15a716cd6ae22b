// Client of the REST API, with its errors as text.

import { addressOf } from "./address.js";

/** An error with its next step. `errors` are fields: {pointer, detail}. */
export class Problem extends Error {
  constructor({ status = 0, code, title, detail = "", hint = "", errors = [], request_id = "" }) {
    super(title);
    Object.assign(this, { status, code, title, detail, hint, errors, requestId: request_id });
  }
}

const AWAY = {
  code: "away",
  title: "Cannot reach the service",
  detail: "The network is down, or the service is stopped or restarting.",
};
const AWAY_HINTS = {
  GET: "This page keeps retrying. To start the service, run `moco up` on the server.",
  other: "Try again in a moment; a repeated request is safe. To start the service, run `moco up` on the server.",
};

/** Send one request. Returns parsed JSON, or text with `as: "text"`. Throws Problem. */
export async function call(method, path, { body, as = "json", headers = {} } = {}) {
  let answer;
  try {
    answer = await fetch(addressOf(path), {
      method,
      credentials: "same-origin",
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem({ ...AWAY, hint: AWAY_HINTS[method] ?? AWAY_HINTS.other });
  }
  if (!answer.ok) throw await problemOf(answer);
  if (answer.status === 204) return null;
  return as === "text" ? answer.text() : answer.json();
}

/** Return the problem in a response. */
export async function problemOf(answer) {
  let said = {};
  try {
    said = await answer.json();
  } catch {
    said = { title: `The service returned HTTP ${answer.status}`, hint: "Try again. The service log has the cause." };
  }
  if (answer.status === 401) {
    said = { ...said, title: "Your session has expired", detail: "", hint: "Sign in again to continue." };
  }
  if (answer.status === 404) {
    said = { ...said, title: "Not found", hint: "It was deleted, or the link is wrong. Pick one from the lists above." };
  }
  return new Problem({ code: "unknown", ...said, status: answer.status });
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });

/** Return the address of the sign-in that leads back to this page. */
export function signInAddress() {
  return `${addressOf("/sign-in")}?next=${encodeURIComponent(location.pathname + location.search)}`;
}

/** Return all items of a list, page by page, up to a limit. */
export async function all(path, most = 500) {
  const found = [];
  let after = "";
  for (;;) {
    const joint = path.includes("?") ? "&" : "?";
    const page = await get(`${path}${joint}limit=100${after}`);
    found.push(...page.data);
    if (!page.has_more || found.length >= most) return found;
    after = `&after=${encodeURIComponent(page.last_id)}`;
  }
}

let words = null;
/** The schema of a JobSpec and the meaning of each signal; fetched once. */
export function theWords() {
  words ??= get("/ui/words.json");
  return words;
}

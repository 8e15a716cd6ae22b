// Transfer of a file in parts, so that a broken connection costs one part only.

import { addressOf } from "./address.js";
import { Problem, problemOf } from "./api.js";
import { h, put } from "./dom.js";
import { bytes } from "./format.js";

const PART_BYTES = 8 * 2 ** 20;
const TRIES = 6;
const WAIT_MS = 1500;
/** Errors after which a part is sent again: the service restarts, or the earlier request is still being written. */
const PASSING = new Set(["away", "unavailable", "upload_busy", "wrong_offset", "request_timeout"]);

/**
 * Send a file from byte `sent` on to what has this path; after an interruption, continue where the service stopped.
 * `hint` says how to continue an upload that is interrupted for longer.
 */
export async function sendFile(path, file, { sent, progress, hint }) {
  let tries = 0;
  for (let isWhole = false; !isWhole;) {
    put(progress, h("progress", { max: file.size, value: sent, "aria-label": "Upload" }), h("span", { class: "small muted" }, `${bytes(sent)} of ${bytes(file.size)}`));
    try {
      await part(path, file.slice(sent, sent + PART_BYTES), sent);
      sent = Math.min(file.size, sent + PART_BYTES);
      isWhole = sent === file.size;
      tries = 0;
    } catch (problem) {
      if (!PASSING.has(problem.code)) throw problem;
      if (tries >= TRIES) throw new Problem({ code: "broken_off", title: "Upload interrupted", detail: `${bytes(sent)} of ${bytes(file.size)} uploaded and kept.`, hint });
      tries += 1;
      put(progress, h("span", {}, `Connection lost at ${bytes(sent)} of ${bytes(file.size)}. Retrying.`));
      await new Promise((go) => { setTimeout(go, WAIT_MS * tries); });
      sent = await heldBytes(path, sent);
    }
  }
}

async function part(path, blob, offset) {
  let answer;
  try {
    answer = await fetch(addressOf(`${path}/content`), { method: "PUT", body: blob, headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) } });
  } catch {
    throw new Problem({ code: "away", title: "Connection lost" });
  }
  if (!answer.ok) throw await problemOf(answer);
}

/** Return the bytes that the service has; the last known number if it does not respond. */
export async function heldBytes(path, known) {
  try {
    const answer = await fetch(addressOf(`${path}/content`), { method: "HEAD" });
    return answer.ok ? Number(answer.headers.get("Upload-Offset")) : known;
  } catch {
    return known;
  }
}

// Bringing images: an archive in parts, so that a broken connection costs one part and no more.

import { Problem, get, post, problemOf } from "./api.js";
import { h, put } from "./dom.js";
import { bytes } from "./format.js";
import { tell } from "./notices.js";

const PART_BYTES = 8 * 2 ** 20;
const TRIES = 6;
const WAIT_MS = 1500;

/** The form. `onDone(dataset)` is called when the last byte is there. */
export function uploadForm(onDone) {
  const name = h("input", { id: "new-name", name: "name", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", maxlength: "64", autocomplete: "off" });
  const file = h("input", { id: "new-file", type: "file", accept: ".zip,.tar,.gz,.tgz,.npy,.idx,.ubyte", onchange: () => suggest(name, file) });
  const path = h("input", { id: "new-path", placeholder: "/data/photos", autocomplete: "off", spellcheck: "false" });
  const progress = h("div", { class: "tight", "aria-live": "polite" });
  const send = h("button", { class: "primary" }, "Add");
  const form = h("form", { class: "fields", novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } },
    field(file, "Archive of images", "zip, tar, tar.gz, idx-ubyte or npy. Folder names inside count as labels, for evaluation only."),
    field(path, "or a folder on the server", "Under a folder that MOCO_ALLOWED_ROOTS names; it is read in place."),
    field(name, "Name", "What jobs call it."),
    h("div", { class: "field" }, send, progress));

  async function submit() {
    clear(form);
    if (!name.value) return wrong(name, "Give it a name.");
    if (!file.files.length && !path.value) return wrong(file, "Choose an archive, or name a folder on the server.");
    send.disabled = true;
    try {
      const made = file.files.length ? await upload(name.value, file.files[0], progress) : await post("/v1/datasets", { name: name.value, path: path.value });
      form.reset();
      put(progress, h("span", {}, "It is here and being prepared."));
      onDone(made);
    } catch (problem) {
      put(progress);
      if (!place(problem, { "#/name": name, "#/path": path, "#/size_bytes": file })) tell(problem);
    } finally {
      send.disabled = false;
    }
    return undefined;
  }
  return h("details", { class: "group" }, h("summary", {}, "Add a dataset"), form);
}

function field(input, label, help) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, h("span", { class: "help", id: `${input.id}-help` }, help), h("span", { class: "error", id: `${input.id}-error`, role: "alert" }));
}

function suggest(name, file) {
  const [chosen] = file.files;
  if (chosen && !name.value) name.value = chosen.name.replace(/(\.tar)?\.[A-Za-z]+$/, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
}

function wrong(input, text) {
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", `${input.id}-error`);
  document.getElementById(`${input.id}-error`).textContent = text;
  input.focus();
}

function clear(form) {
  form.querySelectorAll("[aria-invalid]").forEach((one) => one.removeAttribute("aria-invalid"));
  form.querySelectorAll(".error").forEach((one) => { one.textContent = ""; });
}

/** Shows a problem at the fields that it names; false if it names none of ours. */
function place(problem, inputs) {
  if (problem.code === "name_taken") {
    wrong(inputs["#/name"], "Another dataset has this name. Choose another one.");
    return true;
  }
  const found = (problem.errors ?? []).filter((one) => inputs[one.pointer]);
  found.forEach((one) => wrong(inputs[one.pointer], one.detail));
  return found.length > 0;
}

/** Sends a file part by part; after a break it goes on where the service stopped. */
async function upload(name, file, progress) {
  const made = await post("/v1/datasets", { name, size_bytes: file.size });
  let sent = 0;
  let tries = 0;
  while (sent < file.size) {
    put(progress, h("progress", { max: file.size, value: sent, "aria-label": "Upload" }), h("span", { class: "small muted" }, `${bytes(sent)} of ${bytes(file.size)}`));
    try {
      await part(made.id, file.slice(sent, sent + PART_BYTES), sent);
      sent = Math.min(file.size, sent + PART_BYTES);
      tries = 0;
    } catch (problem) {
      if (problem.code !== "away" || tries >= TRIES) throw problem;
      tries += 1;
      put(progress, h("span", {}, `The connection broke at ${bytes(sent)}; going on in a moment.`));
      await new Promise((go) => setTimeout(go, WAIT_MS * tries));
      sent = await held(made.id, sent);
    }
  }
  return get(`/v1/datasets/${made.id}`);
}

async function part(id, blob, offset) {
  let answer;
  try {
    answer = await fetch(`/v1/datasets/${id}/content`, { method: "PUT", body: blob, headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) } });
  } catch {
    throw new Problem({ code: "away", title: "The upload broke off", detail: "The service does not answer.", hint: "What has arrived is kept: `moco dataset add` goes on with it." });
  }
  if (!answer.ok) throw await problemOf(answer);
}

/** Bytes that the service has; the last known number while it does not answer. */
async function held(id, known) {
  try {
    const answer = await fetch(`/v1/datasets/${id}/content`, { method: "HEAD" });
    return answer.ok ? Number(answer.headers.get("Upload-Offset")) : known;
  } catch {
    return known;
  }
}

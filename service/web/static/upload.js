// Upload of an archive in parts, so that a broken connection costs one part only.

import { addressOf } from "./address.js";
import { Problem, get, post, problemOf, theWords } from "./api.js";
import { h, put } from "./dom.js";
import { Form } from "./form.js";
import { KEPT, bytes, value as said } from "./format.js";
import { dismiss, tell } from "./notices.js";
import { fieldsOf, nested, pathOf } from "./schema.js";

const PART_BYTES = 8 * 2 ** 20;
const TRIES = 6;
const WAIT_MS = 1500;
/** Errors after which a part is sent again: the service restarts, or the earlier request is still being written. */
const PASSING = new Set(["away", "unavailable", "upload_busy", "wrong_offset", "request_timeout"]);
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The form. `onDone(dataset)` is called after the last byte. */
export function uploadForm(onDone) {
  const name = h("input", { id: "new-name", name: "name", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", maxlength: "128", autocomplete: "off" });
  const file = h("input", { id: "new-file", type: "file", accept: ".zip,.tar,.gz,.tgz,.bz2,.xz,.zst,.npy,.npz,.parquet,.idx,.ubyte", onchange: () => suggest(name, file) });
  const path = h("input", { id: "new-path", placeholder: "/data/photos", autocomplete: "off", spellcheck: "false" });
  const store = h("select", { id: "new-store" }, h("option", { value: "pixels" }, "Raw pixels: fastest to train on"), h("option", { value: "jpeg" }, "JPEG: a tenth of the disk space, for photos"));
  const options = new Form(() => {});
  const progress = h("div", { class: "tight", "aria-live": "polite" });
  const send = h("button", { class: "primary" }, "Add");
  const form = h("form", { class: "fields", novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } },
    field(file, "Archive of images", "zip, tar (.gz, .bz2, .xz, .zst), npz, npy, parquet or idx-ubyte. Folder names become labels, used for evaluation, and for training only if a job says so."),
    field(path, "or a folder on the server", "Must be inside a folder listed in MOCO_ALLOWED_ROOTS; read in place, not copied."),
    field(name, "Name", "Name used when submitting jobs."),
    field(store, "Store as", "JPEG (quality 90) is lossy and decoded every epoch; it saves about 90 % of the disk space."),
    optionsFold(options),
    h("div", { class: "field" }, send, progress));

  async function submit() {
    clear(form);
    options.wrong([]);
    dismiss("problem");
    const asked = { name: name.value, store_as: store.value, ...(options.values.size ? { options: nested(options.values) } : {}) };
    if (!name.value) return wrong(name, "Enter a name.");
    if (!NAME.test(name.value)) return wrong(name, "Use letters, digits, dots, dashes and underscores; start with a letter or a digit.");
    if (!file.files.length && !path.value) return wrong(file, "Choose an archive, or enter a folder on the server.");
    if (!file.files.length && !path.value.startsWith("/")) return wrong(path, "Enter an absolute path, such as /data/photos.");
    send.disabled = true;
    window.addEventListener("beforeunload", askToStay);
    try {
      const made = file.files.length ? await upload(asked, file.files[0], progress) : await post("/v1/datasets", { ...asked, path: path.value });
      form.reset();
      options.values.clear();
      put(progress, h("span", {}, "Uploaded. Preparing the dataset."));
      onDone(made);
    } catch (problem) {
      put(progress);
      const isPlaced = place(problem, { "#/name": name, "#/path": path, "#/size_bytes": file });
      if (!placeOptions(problem, options) && !isPlaced) tell(problem);
    } finally {
      send.disabled = false;
      window.removeEventListener("beforeunload", askToStay);
    }
    return undefined;
  }
  return h("details", { class: "group" }, h("summary", {}, "Add a dataset"), form);
}

/** The options of an ingest, made from their schema when the fold is opened first. */
function optionsFold(options) {
  const box = h("div", { class: "fields" });
  const fold = h("details", { class: "group whole" }, h("summary", {}, "Options", h("span", { class: "muted small" }, "pixel values, channels, size, damaged files, limits")), box);
  fold.addEventListener("toggle", async () => {
    if (box.childElementCount) return;
    try {
      const { ingest_options: schema } = await theWords();
      put(box, fieldsOf(schema).map((one) => options.field(one)));
    } catch (problem) {
      tell(problem);
    }
  });
  return fold;
}

/** Show a problem at the options that it names; return whether it names one. */
function placeOptions(problem, options) {
  const errors = (problem.errors ?? []).map(({ pointer, detail }) => ({ path: pathOf(pointer).replace(/^options\./, ""), detail }));
  return options.wrong(errors).length < errors.length;
}

/** Let the browser confirm leaving the page during an upload. */
const askToStay = (event) => event.preventDefault();

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

/** Show a problem at the fields that it names; return false if it names none. */
function place(problem, inputs) {
  if (problem.code === "name_taken") {
    wrong(inputs["#/name"], problem.unfinished ?? "This name is taken. Choose another one.");
    return true;
  }
  if (problem.code === "path_not_allowed") {
    wrong(inputs["#/path"], `${problem.title}. ${problem.hint}`);
    return true;
  }
  const found = (problem.errors ?? []).filter((one) => inputs[one.pointer]);
  found.forEach((one) => wrong(inputs[one.pointer], one.detail));
  return found.length > 0;
}

/** Send a file in parts; after an interruption, continue where the service stopped. */
async function upload(asked, file, progress) {
  const made = await begun(asked, file);
  let sent = made.received_bytes ?? 0;
  let tries = 0;
  for (let isWhole = false; !isWhole;) {
    put(progress, h("progress", { max: file.size, value: sent, "aria-label": "Upload" }), h("span", { class: "small muted" }, `${bytes(sent)} of ${bytes(file.size)}`));
    try {
      await part(made.id, file.slice(sent, sent + PART_BYTES), sent);
      sent = Math.min(file.size, sent + PART_BYTES);
      isWhole = sent === file.size;
      tries = 0;
    } catch (problem) {
      if (!PASSING.has(problem.code)) throw problem;
      if (tries >= TRIES) throw brokenOff(asked, sent, file);
      tries += 1;
      put(progress, h("span", {}, `Connection lost at ${bytes(sent)} of ${bytes(file.size)}. Retrying.`));
      await new Promise((go) => { setTimeout(go, WAIT_MS * tries); });
      sent = await held(made.id, sent);
    }
  }
  return get(`/v1/datasets/${made.id}`);
}

/** Create a dataset, or return the interrupted upload of this name and size. */
async function begun(asked, file) {
  const { name, store_as, options = {} } = asked;
  try {
    return await post("/v1/datasets", { ...asked, size_bytes: file.size });
  } catch (problem) {
    if (problem.code !== "name_taken") throw problem;
    const known = await get(`/v1/datasets/${encodeURIComponent(name)}`);
    if (known.status !== "received") throw problem;
    if (known.is_uploading) problem.unfinished = "An upload with this name is in progress elsewhere. Wait for it to finish, or choose another name.";
    if (known.is_uploading) throw problem;
    const others = Object.keys(options).filter((one) => known.options[one] !== options[one]);
    if (known.size_bytes === file.size && known.store_as === store_as && others.length) problem.unfinished = `An interrupted upload with this name has other options: ${others.map((one) => `${one} ${said(known.options[one])}`).join(", ")}. Set the same options to continue it, or choose another name.`;
    else if (known.size_bytes === file.size && known.store_as === store_as) return { ...known, received_bytes: await held(known.id, known.received_bytes) };
    if (known.size_bytes === file.size) problem.unfinished = `An interrupted upload with this name is stored as ${KEPT[known.store_as]}. Choose that to continue it, or choose another name.`;
    else problem.unfinished = `An interrupted upload with this name is of another file${known.size_bytes ? ` (${bytes(known.size_bytes)})` : ""}. Choose that file to continue it, or choose another name.`;
    throw problem;
  }
}

function brokenOff({ name, store_as }, sent, file) {
  return new Problem({
    code: "broken_off", title: "Upload interrupted", detail: `${bytes(sent)} of ${bytes(file.size)} uploaded and kept.`,
    hint: `To continue where it stopped, press Add when the service is back, or choose the same file later with the name ${name} and stored as ${KEPT[store_as]}.`,
  });
}

async function part(id, blob, offset) {
  let answer;
  try {
    answer = await fetch(addressOf(`/v1/datasets/${id}/content`), { method: "PUT", body: blob, headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) } });
  } catch {
    throw new Problem({ code: "away", title: "Connection lost" });
  }
  if (!answer.ok) throw await problemOf(answer);
}

/** Return the bytes that the service has; the last known number if it does not respond. */
async function held(id, known) {
  try {
    const answer = await fetch(addressOf(`/v1/datasets/${id}/content`), { method: "HEAD" });
    return answer.ok ? Number(answer.headers.get("Upload-Offset")) : known;
  } catch {
    return known;
  }
}

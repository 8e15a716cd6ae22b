// Upload of an archive in parts, so that a broken connection costs one part only.

import { get, post, theWords } from "./api.js";
import { h, put } from "./dom.js";
import { Form } from "./form.js";
import { KEPT, bytes, value as said } from "./format.js";
import { dismiss, tell } from "./notices.js";
import { fieldsOf, nested, pathOf } from "./schema.js";
import { heldBytes, sendFile } from "./send_file.js";
import { clear, field, nameInput, nameProblem, staying, suggest, wrong } from "./upload_fields.js";

/** The form. `onDone(dataset)` is called after the last byte. */
export function uploadForm(onDone) {
  const name = nameInput();
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
    if (nameProblem(name.value)) return wrong(name, nameProblem(name.value));
    if (!file.files.length && !path.value) return wrong(file, "Choose an archive, or enter a folder on the server.");
    if (!file.files.length && !path.value.startsWith("/")) return wrong(path, "Enter an absolute path, such as /data/photos.");
    send.disabled = true;
    try {
      const made = file.files.length ? await staying(() => upload(asked, file.files[0], progress)) : await post("/v1/datasets", { ...asked, path: path.value });
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

/** Send a file, or the rest of an interrupted upload, and return its dataset. */
async function upload(asked, file, progress) {
  const made = await begun(asked, file);
  const hint = `To continue where it stopped, press Add when the service is back, or choose the same file later with the name ${asked.name} and stored as ${KEPT[asked.store_as]}.`;
  await sendFile(`/v1/datasets/${made.id}`, file, { sent: made.received_bytes ?? 0, progress, hint });
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
    else if (known.size_bytes === file.size && known.store_as === store_as) return { ...known, received_bytes: await heldBytes(`/v1/datasets/${known.id}`, known.received_bytes) };
    if (known.size_bytes === file.size) problem.unfinished = `An interrupted upload with this name is stored as ${KEPT[known.store_as]}. Choose that to continue it, or choose another name.`;
    else problem.unfinished = `An interrupted upload with this name is of another file${known.size_bytes ? ` (${bytes(known.size_bytes)})` : ""}. Choose that file to continue it, or choose another name.`;
    throw problem;
  }
}

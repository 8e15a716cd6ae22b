// List of uploaded weights, and the form to add some.

import { call, get, post } from "./api.js";
import { $, button, command, empty, h, put } from "./dom.js";
import { ago, bytes, number } from "./format.js";
import { attempt, dismiss, every, tell } from "./notices.js";
import { mayChange, pill } from "./parts.js";
import { heldBytes, sendFile } from "./send_file.js";
import { clear, field, nameInput, nameProblem, staying, suggest, wrong } from "./upload_fields.js";

const EVERY_MS = 3000;

const polling = every(EVERY_MS, async () => {
  const { data: found } = await get("/v1/weights");
  if (document.querySelector(".weights-row button:active")) return; // do not replace a button that is being pressed
  const focused = document.activeElement?.id;
  put($("weights"), found.length ? h("ul", { class: "list", "aria-label": "Weights" }, found.map(row)) : none());
  if (focused) $(focused)?.focus();
  document.title = "Weights · mocoserve";
});

function row(one) {
  const isReady = one.status === "ready";
  return h("li", { class: "weights-row", "data-weights": one.name },
    h("div", {}, h("strong", { class: "name" }, one.name), h("div", { class: "muted small" }, `added ${ago(one.created_at)}, ${bytes(isReady ? one.size_bytes : one.received_bytes)}${!isReady && one.size_bytes ? ` of ${bytes(one.size_bytes)}` : ""}`)),
    h("div", {}, pill(one.status)),
    h("div", { "data-encoder": one.encoder?.name }, content(one)),
    h("div", { class: "muted" }, isReady ? `${number(one.parameters)} values in ${number(one.tensors)} ${one.tensors === 1 ? "tensor" : "tensors"}` : ""),
    h("div", { class: "actions" }, mayChange ? actions(one, isReady) : null));
}

/** Return what jobs of the weights train, or why there can be none. */
function content(one) {
  if (one.status === "failed") return [h("div", { class: "error" }, one.status_reason.message), h("div", { class: "muted small" }, one.status_reason.hint)];
  if (one.status === "received") return h("div", { class: "muted small" }, "To continue an interrupted upload, add the same file with the same name.");
  if (!one.encoder) return [h("div", {}, "No known encoder"), h("div", { class: "muted small" }, "A job can still name one: what does not fit is then listed.")];
  const { name, stem, patch_px: patch, side_px: side, channels } = one.encoder;
  const said = [stem && `stem ${stem}`, patch && `patches of ${patch} px`, side && `positions for ${side} px`, `${channels} ${channels === 1 ? "channel" : "channels"}`];
  return [h("div", {}, name), h("div", { class: "muted small" }, said.filter(Boolean).join(", "))];
}

function actions(one, isReady) {
  const to = `/ui/submit?weights=${encodeURIComponent(one.name)}`;
  return [
    isReady && one.encoder ? h("a", { class: "button", href: to, id: `train-${one.id}`, "aria-label": `Train on from ${one.name}` }, "Train") : null,
    isReady && one.encoder ? h("a", { class: "button", href: `${to}&kind=finetune`, id: `tune-${one.id}`, "aria-label": `Fine-tune ${one.name}` }, "Fine-tune") : null,
    button("Delete", async () => {
      if (!confirm(`Delete the weights ${one.name} (${bytes(one.received_bytes)})? This cannot be undone. Jobs that began with them keep copies.`)) return;
      await attempt(() => call("DELETE", `/v1/weights/${one.id}`));
      polling.now();
    }, { class: "danger", id: `delete-${one.id}`, "aria-label": `Delete ${one.name}` }),
  ];
}

function none() {
  return empty("No weights yet", "Upload a safetensors file of an encoder above or from the command line. Jobs can begin with it, or with the encoder of an earlier job.", command("moco weights add FILE.safetensors"));
}

function uploadForm() {
  const name = nameInput();
  const file = h("input", { id: "new-file", type: "file", accept: ".safetensors", onchange: () => suggest(name, file) });
  const progress = h("div", { class: "tight", "aria-live": "polite" });
  const send = h("button", { class: "primary" }, "Add");
  const form = h("form", { class: "fields", novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } },
    field(file, "File of weights", "safetensors, with the key names of torchvision or timm. Prefixes such as backbone. are removed, heads are left out. Files of pickle (.pth, .pt) are refused: anyone can hide code in them."),
    field(name, "Name", "Name used for the starting weights of jobs."),
    h("div", { class: "field" }, send, progress));

  async function submit() {
    clear(form);
    dismiss("problem");
    if (nameProblem(name.value)) return wrong(name, nameProblem(name.value));
    if (!file.files.length) return wrong(file, "Choose a file.");
    send.disabled = true;
    try {
      await staying(() => upload(name.value, file.files[0], progress));
      form.reset();
      put(progress, h("span", {}, "Uploaded."));
    } catch (problem) {
      put(progress);
      place(problem, { name, file });
    } finally {
      send.disabled = false;
      polling.now();
    }
    return undefined;
  }
  return h("details", { class: "group" }, h("summary", {}, "Add weights"), form);
}

/** Show a problem at the field that it is about, else above the page. */
function place(problem, { name, file }) {
  const at = (pointer) => problem.errors?.find((one) => one.pointer === pointer)?.detail;
  if (problem.code === "name_taken") wrong(name, problem.unfinished ?? "This name is taken. Choose another one.");
  else if (at("#/name")) wrong(name, at("#/name"));
  else if (at("#/size_bytes") ?? at("body")) wrong(file, at("#/size_bytes") ?? at("body"));
  else tell(problem);
}

/** Send a file, or the rest of an interrupted upload. */
async function upload(name, file, progress) {
  const made = await begun(name, file);
  const hint = `To continue where it stopped, press Add when the service is back, or choose the same file later with the name ${name}.`;
  await sendFile(`/v1/weights/${made.id}`, file, { sent: made.received_bytes, progress, hint });
}

/** Create weights, or return the interrupted upload of this name and size. */
async function begun(name, file) {
  try {
    return await post("/v1/weights", { name, size_bytes: file.size });
  } catch (problem) {
    if (problem.code !== "name_taken") throw problem;
    const known = await get(`/v1/weights/${encodeURIComponent(name)}`);
    if (known.status !== "received") throw problem;
    if (known.size_bytes === file.size) return { ...known, received_bytes: await heldBytes(`/v1/weights/${known.id}`, known.received_bytes) };
    problem.unfinished = `An interrupted upload with this name is of another file${known.size_bytes ? ` (${bytes(known.size_bytes)})` : ""}. Choose that file to continue it, or choose another name.`;
    throw problem;
  }
}

if (mayChange) put($("add"), uploadForm());

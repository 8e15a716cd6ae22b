// List of datasets, and the form to add one.

import { all } from "./api.js";
import { $, command, empty, h, put } from "./dom.js";
import { ago, bytes, number } from "./format.js";
import { every } from "./notices.js";
import { mayChange, pill } from "./parts.js";
import { uploadForm } from "./upload.js";

const EVERY_MS = 3000;

const polling = every(EVERY_MS, async () => {
  const found = await all("/v1/datasets");
  const focused = document.activeElement?.id;
  put($("datasets"), found.length ? h("ul", { class: "list", "aria-label": "Datasets" }, found.map(row)) : none());
  if (focused) $(focused)?.focus();
  document.title = "Datasets · mocoserve";
});

function row(one) {
  const { facts } = one;
  return h("li", { class: "dataset-row", "data-dataset": one.name },
    h("div", {}, h("a", { class: "name", href: `/ui/datasets/${refOf(one)}`, id: `open-${one.id}` }, h("strong", {}, one.name)), h("div", { class: "muted small" }, `added ${ago(one.created_at)}, ${bytes(one.stored_bytes)} on disk${one.is_current ? "" : one.status === "ready" ? ", an older version" : ", a new version"}`)),
    h("div", {}, pill(one.status)),
    h("div", {}, facts ? `${number(facts.rows)} images` : bytes(one.received_bytes)),
    h("div", { class: "muted" }, facts ? `${facts.side_px_median} px, ${facts.labels.length ? `${facts.labels.length} classes` : "no labels"}` : one.status_reason?.message ?? ""),
    h("div", { class: facts?.bad_files ? "error" : "muted" }, facts ? (facts.bad_files ? `${number(facts.bad_files)} rejected files` : "no rejected files") : ""),
    h("div", { class: "actions" }, mayChange && one.status === "ready" ? h("a", { class: "button", href: `/ui/submit?dataset=${refOf(one)}`, "aria-label": `Train on ${one.name}` }, "Train") : null));
}

/** Return its name, or its id if the name refers to another version. */
const refOf = (one) => (one.is_current ? one.name : one.id);

function none() {
  return empty("No datasets yet", "Upload an archive of images above, or add a folder from the command line.", command("moco dataset add PATH --name NAME"));
}

if (mayChange) put($("add"), uploadForm(() => polling.now()));

// A new job: a form made from the schema of a JobSpec; every omitted value is suggested with its reason.

import { addressOf } from "./address.js";
import { all, get, post, theWords } from "./api.js";
import { $, button, command, empty, h, put } from "./dom.js";
import { bytes, duration, number, value as said } from "./format.js";
import { Form, title } from "./form.js";
import { dismiss, notice, persist, tell } from "./notices.js";
import { flat, mayChange } from "./parts.js";
import { fieldsOf, nested, pathOf } from "./schema.js";

const WAIT_MS = 250;
const FIRST = ["kind", "dataset", "test_dataset", "name", "preset", "encoder.name", "epochs", "batch_rows"];
const PARTS = { finetune: { method: "classification", evaluation: "classifier" } };
const GROUPS = [
  ["method", "Method", "objective, temperature, embedding dimension"],
  ["positives", "Positives", "where the second view comes from"],
  ["batching", "Balanced batches", "several images of one label in each batch"],
  ["views", "Augmentations", "crop, color jitter, grayscale, blur"],
  ["optim", "Optimizer", "optimizer, learning rate, weight decay"],
  ["schedule", "LR schedule", "cosine, linear, step or constant"],
  ["init_from", "Starting weights", "an earlier job, one of its checkpoints, or uploaded weights"],
  ["evaluation", "Evaluation", "kNN accuracy, geometry without labels, and others"],
  ["early_stop", "Early stop", "the end of a job that no longer gets better"],
];

const asked = new URLSearchParams(location.search);
const form = new Form(() => { changed(); });
const plan = h("div", { class: "stack" });
const image = h("div", {});
const go = button("Start the job", () => submit(), { class: "primary" });
let timer = null;
let turn = 0;
let sent = { text: null, key: null };

async function begin() {
  if (!mayChange) return put($("submit"), empty("Read-only access", "Sign in with the key in api.key to start jobs."));
  const [{ job_spec: schema }, datasets, { data: weights }] = await Promise.all([theWords(), all("/v1/datasets"), get("/v1/weights")]);
  const ready = datasets.filter((one) => one.status === "ready");
  if (!ready.length) return put($("submit"), noDataset(datasets));
  const fields = new Map(fieldsOf(schema).map((one) => [one.path, one]));
  put($("submit"), h("form", { class: "form-page", novalidate: true, onsubmit: (event) => { event.preventDefault(); submit(); } },
    h("div", { class: "stack" }, first(fields, ready), GROUPS.map((one) => group(fields, one)), rest(fields)),
    h("aside", { class: "aside stack", "aria-label": "Estimate" },
      h("section", { class: "card stack" }, h("h2", {}, "Estimate"), plan, go), image)));
  offer(weights);
  await start(ready);
  return undefined;
}

/** Fill in the values of another job, or the weights and dataset of the address, or the newest dataset. */
async function start(ready) {
  const from = asked.get("from");
  if (from) {
    try {
      const { spec } = await get(`/v1/jobs/${encodeURIComponent(from)}`);
      if (spec.evaluation?.length === 1) [spec.evaluation] = spec.evaluation;
      form.fill(flat(spec));
      // The form shows one evaluator; none or several are sent again as they were.
      if (spec.evaluation === null || Array.isArray(spec.evaluation)) form.fillWhole("evaluation", spec.evaluation);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      notice("from", "warn", "The job to copy settings from was not found.", "It was deleted, or the link is wrong. Fill in the form, or choose Run again on another job.");
    }
  }
  beginWith(asked.get("weights"), asked.get("kind"));
  if (!form.values.has("dataset")) form.fill([["dataset", asked.get("dataset") ?? ready[0].name]]);
  await preview();
}

/** Fill in uploaded weights and the kind of job, as the page of weights links to them. */
function beginWith(weights, kind) {
  if (PARTS[kind]) {
    form.fill([["kind", kind]]);
    chooseParts(kind);
  }
  if (!weights) return;
  form.fill([["init_from.weights", weights]]);
  $("f-init_from.weights").closest("details").open = true;
}

/** Offer the names of uploaded weights in the field for them. */
function offer(weights) {
  const names = weights.filter((one) => one.status === "ready").map((one) => h("option", { value: one.name }, one.encoder?.name ?? ""));
  const input = $("f-init_from.weights");
  input.setAttribute("list", "weights-names");
  input.after(h("datalist", { id: "weights-names" }, names));
}

function chooseParts(kind) {
  for (const part of ["method", "evaluation"]) form.choose(part, PARTS[kind]?.[part]);
}

function first(fields, ready) {
  const names = ready.map((one) => [one.name, `${one.name} (${number(one.facts.rows)} images)`]);
  const labelled = ready.filter((one) => one.facts.labels.length).map((one) => one.name);
  const encoder = fields.get("encoder").fields.find((one) => one.name === "name");
  const elements = [
    form.field(fields.get("kind")),
    form.field({ ...fields.get("dataset"), required: true, help: "Training images." }, { choices: names }),
    form.field({ ...fields.get("test_dataset"), fallback: "hold out 10 % of the dataset" }, { choices: labelled }),
    form.field(fields.get("name")),
    form.field(fields.get("preset")), form.field(encoder, { label: "Encoder" }),
    form.field(fields.get("epochs")), form.field(fields.get("batch_rows")),
  ];
  const kind = elements[0].querySelector("select");
  kind.addEventListener("change", () => chooseParts(kind.value));
  return h("section", { class: "card" }, h("h2", { class: "hidden-label" }, "The job"), h("div", { class: "fields" }, elements));
}

function group(fields, [name, title, words]) {
  return h("details", { class: "group", "data-group": name }, h("summary", {}, title, h("span", { class: "muted small" }, words)), h("div", { class: "fields" }, full(form.field(fields.get(name)))));
}

/** Return the fields without a group, such as seed, precision and checkpoints. */
function rest(fields) {
  const named = new Set([...FIRST, ...GROUPS.map(([name]) => name), "encoder"]);
  const stem = fields.get("encoder").fields.filter((one) => one.name !== "name");
  const others = [...stem, ...[...fields.values()].filter((one) => !named.has(one.path)).flatMap((one) => (one.kind === "object" ? one.fields : [one]))];
  return h("details", { class: "group" }, h("summary", {}, "Runtime", h("span", { class: "muted small" }, "seed, precision, exports, checkpoints, retries, GPUs")),
    h("div", { class: "fields" }, others.map((one) => form.field(one))));
}

/** A box of fields takes the whole width of the grid around it. */
function full(element) {
  element.classList.add("whole");
  return element;
}

function changed() {
  clearTimeout(timer);
  timer = setTimeout(preview, WAIT_MS);
}

/** Request a dry run; show the suggestions, or the errors at their fields. */
async function preview() {
  const mine = ++turn;
  try {
    const found = await post("/v1/jobs?dry_run=true", nested(form.values));
    if (mine !== turn) return;
    dismiss("spec");
    form.wrong([]);
    form.suggest(found.resolved, found.reasons);
    put(plan, cost(found));
    views(found.resolved);
    go.disabled = false;
  } catch (problem) {
    if (mine === turn) refuse(problem);
  }
}

function refuse(problem) {
  const errors = (problem.errors ?? []).map(({ pointer, detail }) => ({ path: pathOf(pointer), detail }));
  const homeless = form.wrong(errors);
  go.disabled = errors.length > 0;
  if (errors.length) put(plan, h("p", { class: "error" }, errors.length === 1 ? "Fix 1 field; it shows what is wrong." : `Fix ${errors.length} fields; each shows what is wrong.`));
  if (!errors.length || homeless.length) tell(problem, "spec");
  else dismiss("spec");
}

function cost(found) {
  const eta = found.eta_s === null ? "unknown" : duration(found.eta_s);
  const box = (name, value) => h("div", { class: "number-box" }, h("span", {}, name), h("span", {}, value));
  return [
    h("div", { class: "summary" }, h("div", { class: "numbers" }, box("Steps", number(found.steps)), box("Time", eta), box("Memory", bytes(found.memory_bytes)))),
    h("p", { class: "small muted" }, `${found.eta_basis[0].toUpperCase()}${found.eta_basis.slice(1)}.`),
    ...scaling(found.scaling),
    ...(found.warnings ?? []).map((one) => h("p", { class: "notice is-warn", "data-warning": one.code }, h("strong", {}, one.message), h("span", {}, one.hint))),
    h("p", { class: "small muted" }, `${form.values.size} ${form.values.size === 1 ? "setting" : "settings"} changed; the rest are recommended or default.`),
  ];
}

/** Return the arithmetic of a batch that several GPUs share. */
function scaling(found) {
  if (!found || found.gpus === 1) return [];
  const share = `${(100 * found.communication_share).toFixed(1)} %`;
  return [h("p", { class: "small muted", "data-scaling": found.gpus_limit },
    `${number(found.gpus)} GPUs, ${number(found.rows_per_gpu)} rows each: each sends ${bytes(found.sent_bytes)} a step, about ${share} of the step. `
    + `This batch scales to ${number(found.gpus_limit)} GPUs. Assumes ${found.assumptions}.`)];
}

/** The picture of the dataset, with second views of their own where the job has such. */
function views({ dataset, method, views: { second } }) {
  const own = second && second !== "same" ? Object.entries(second) : [];
  const changed = [...form.values].filter(([path]) => /^views\.(?!second\b)/.test(path));
  const key = JSON.stringify([dataset, method.name, own, changed]);
  if (image.dataset.of === key) return;
  image.dataset.of = key;
  const plain = `/v1/datasets/${encodeURIComponent(dataset)}/preview.png`;
  const words = (settings) => settings.map(([path, value]) => `${title(path.replace("views.", "")).toLowerCase()} ${said(value)}`).join("; ");
  put(image, h("section", { class: "card stack" }, h("h2", {}, "Augmentation preview"),
    h("img", {
      class: "picture", src: own.length ? `${plain}?unlike=true` : plain, alt: `Images of ${dataset}, each with two random views`,
      // A dataset of an earlier version has no such picture.
      onerror: ({ target }) => { if (own.length && !target.src.endsWith(plain)) target.src = plain; },
    }),
    h("p", { class: "small muted" }, "Sample images, each with two random views, with recommended settings."),
    own.length ? h("p", { class: "small", "data-second": own.length }, `The second view has settings of its own: ${words(own)}.`) : null,
    changed.length ? h("p", { class: "small", "data-changed": changed.length }, `The picture does not show your settings: ${words(changed)}.`) : null));
}

async function submit() {
  clearTimeout(timer);
  let made = null;
  const spec = nested(form.values);
  const text = JSON.stringify(spec);
  // A repeated press without a response means the same job.
  if (sent.text !== text) sent = { text, key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
  try {
    made = await post("/v1/jobs", spec, { headers: { "Idempotency-Key": sent.key } });
  } catch (problem) {
    refuse(problem);
    document.querySelector("[aria-invalid]")?.focus();
    return;
  }
  location.assign(addressOf(`/ui/jobs/${made.id}`));
}

function noDataset(datasets) {
  const waits = datasets.some((one) => one.status === "preparing");
  return empty(waits ? "The dataset is still being prepared" : "No dataset to train on",
    waits ? "Reload this page when it is ready." : "Add images first.",
    h("a", { class: "button primary", href: "/ui/datasets" }, "Datasets"), command("moco dataset add PATH --name NAME"));
}

persist(begin).catch((problem) => tell(problem));

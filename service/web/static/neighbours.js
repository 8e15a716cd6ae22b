// Neighbor search: images of the dataset, or an uploaded image, with their nearest neighbors.

import { addressOf } from "./address.js";
import { Problem, get, post, problemOf } from "./api.js";
import { button, command, empty, h, prose, put } from "./dom.js";
import { ENDED, number } from "./format.js";
import { attempt } from "./notices.js";
import { mayChange } from "./parts.js";

const NEWEST = "newest";
const LOOK_MS = [250, 400, 600, 1000];
const FOLLOW_MS = 8000;
const TRIES = 6;
const IMAGE_BYTES_MAX = 20e6;
const COUNTS = [5, 10, 20, 50];

/** The tab of a job. */
export async function neighbours(element, { job }) {
  const at = `/v1/jobs/${job.id}/probes`;
  const choices = await choicesOf(job, at);
  if (!element.isConnected) return; // the tab was closed meanwhile
  if (!choices.length) return put(element, nothing(job));
  const encoder = h("select", { id: "near-encoder" }, choices.map(option));
  const count = h("select", { id: "near-count" }, COUNTS.map((one) => h("option", { value: one, selected: one === 10 }, String(one))));
  const rows = h("input", { id: "near-rows", placeholder: "automatic", inputmode: "numeric", autocomplete: "off", "aria-describedby": "near-rows-error" });
  const wrong = h("span", { class: "error", id: "near-rows-error", role: "alert" });
  const shown = h("div", { class: "stack", "aria-live": "polite" });
  const asked = new Map(choices.map((one) => [one.value, one]));

  async function show() {
    const found = readRows(rows, wrong);
    if (found === undefined) return;
    const choice = asked.get(encoder.value);
    const old = !mayChange || choice.kept ? choice.probe : null;
    await answerIn(shown, at, () => (old ? get(`${at}/${old}`) : post(at, { k: Number(count.value), checkpoint: wanted(choice), ...(found.length ? { rows: found } : {}) })));
  }

  const form = h("form", { class: "near-form", onsubmit: (event) => { event.preventDefault(); show(); } },
    field(encoder, "Encoder"), mayChange && field(count, "Neighbors per query"), mayChange && field(rows, "Query rows", wrong), h("button", { class: "primary" }, "Search"));
  encoder.addEventListener("change", show);
  count.addEventListener("change", show);
  put(element, h("div", { class: "stack" },
    mayChange ? own(at, () => asked.get(encoder.value), () => Number(count.value)) : null,
    h("section", { class: "card stack" }, h("div", { class: "tight" }, h("h2", {}, "Nearest neighbors in the dataset"),
      h("p", { class: "muted" }, "Each row: a query image, then its nearest neighbors, most similar first. If they share what matters to you, the encoder has learned it.")), form, shown)));
  if (!ENDED.has(job.status)) followTraining(element, job, { encoder, asked, show });
  await show();
}

/** Add new checkpoints to the list while the job trains and the tab is visible. */
function followTraining(element, job, { encoder, asked, show }) {
  const timer = setInterval(async () => {
    if (!encoder.isConnected) return clearInterval(timer);
    if (document.hidden) return;
    try {
      const found = await choicesOf(job, `/v1/jobs/${job.id}/probes`);
      const before = asked.get(NEWEST)?.step;
      const value = encoder.value;
      asked.clear();
      found.forEach((one) => asked.set(one.value, one));
      encoder.replaceChildren(...found.map(option));
      encoder.value = asked.has(value) ? value : found[0].value;
      if (value === NEWEST && asked.get(NEWEST)?.step !== before) await show();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
    }
  }, FOLLOW_MS);
}

/** Return the available encoders: [{value, label, step, kept, probe}], the best first. */
async function choicesOf(job, at) {
  const [saved, made] = await Promise.all([get(`/v1/jobs/${job.id}/checkpoints`), get(at)]);
  const done = new Map();
  for (const one of made.data) {
    if (one.status === "succeeded" && !one.is_image && !one.rows && !done.has(one.checkpoint)) done.set(one.checkpoint, one.id);
  }
  const there = saved.data.filter((one) => one.available).map((one) => one.step);
  const found = [];
  if (job.status === "succeeded") found.push({ value: "end", label: "final encoder", step: null });
  else if (there.length) found.push({ value: NEWEST, label: `latest checkpoint, step ${number(there[0])}`, step: there[0] });
  const steps = [...new Set([...there, ...[...done.keys()].filter((step) => step !== null)])].sort((a, b) => b - a);
  for (const step of steps) {
    const kept = !there.includes(step);
    found.push({ value: String(step), label: `step ${number(step)}${kept ? " (saved result)" : ""}`, step, kept });
  }
  found.forEach((one) => { one.probe = done.get(one.step); });
  return mayChange ? found : found.filter((one) => one.probe);
}

/** Return the step to request; null lets the service choose the newest. */
const wanted = ({ value, step }) => (value === NEWEST ? null : step);

const option = ({ value, label }) => h("option", { value }, label);

function field(input, label, ...more) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, more);
}

/** Parse numbers such as "12, 40"; undefined if there is anything else. */
function readRows(input, wrong) {
  const words = input.value.split(/[\s,;]+/).filter(Boolean);
  const good = words.every((word) => /^\d{1,9}$/.test(word)) && words.length <= 16;
  wrong.textContent = good ? "" : "Enter up to 16 row numbers, such as 12, 40.";
  input.toggleAttribute("aria-invalid", !good);
  if (!good) {
    input.setAttribute("aria-invalid", "true");
    input.focus();
    return undefined;
  }
  return words.map(Number);
}

/** Return the drop zone for a query image. */
function own(at, choice, count) {
  const shown = h("div", { class: "stack near-empty", "aria-live": "polite" });
  const file = h("input", { type: "file", id: "near-file", accept: "image/*", onchange: () => file.files.length && ask(file.files[0]) });
  const area = h("div", {
    class: "drop near-drop", tabindex: "-1",
    ondragover: (event) => { event.preventDefault(); area.classList.add("is-over"); },
    ondragleave: () => area.classList.remove("is-over"),
    ondrop: (event) => {
      event.preventDefault();
      area.classList.remove("is-over");
      const [dropped] = event.dataTransfer.files;
      if (dropped) ask(dropped);
    },
  }, h("div", { class: "tight" }, h("label", { for: "near-file" }, "Drop an image here or choose a file"), h("span", { class: "muted small" }, "jpg, png, webp, tif, bmp or ppm, up to 20 MB and 25 megapixels")), file);

  async function ask(image) {
    const { kept } = choice();
    const step = wanted(choice());
    if (image.size > IMAGE_BYTES_MAX) return refuse(shown, { title: "Image too large", detail: "The limit is 20 MB.", hint: "Save a smaller copy." });
    if (kept) return refuse(shown, { title: "This checkpoint was removed", detail: "Newer checkpoints replaced it.", hint: "Choose another one below." });
    const query = new URLSearchParams({ k: count(), ...(step === null ? {} : { checkpoint: step }) });
    await answerIn(shown, at, () => sent(`${at}?${query}`, image), image);
    return undefined;
  }
  return h("section", { class: "card stack" }, h("div", { class: "tight" }, h("h2", {}, "Search with your own image"),
    h("p", { class: "muted" }, "Try an image that the encoder was not trained on.")), area, shown);
}

async function sent(address, image) {
  let answer;
  try {
    answer = await fetch(addressOf(address), { method: "POST", body: image, headers: { "Content-Type": image.type.startsWith("image/") ? image.type : "image/x-portable-anymap" } });
  } catch {
    throw new Problem({ code: "away", title: "Upload failed", detail: "The service is not responding.", hint: "Try again in a moment." });
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer.json();
}

const turns = new WeakMap();
const sideways = matchMedia("(max-width: 640px)"); // a line is then scrolled, by keyboard too

/** Return whether training replaced the checkpoint before the search could use it. */
const isGone = (probe) => probe.status === "failed" && probe.status_reason?.code === "encoder_gone";

/**
 * Start a search, wait, and show the result in `element`; of two searches only the later one is shown.
 * If its checkpoint was replaced meanwhile, search again with the newest one.
 */
async function answerIn(element, at, ask, image = null) {
  const turn = (turns.get(element) ?? 0) + 1;
  turns.set(element, turn);
  const isMine = () => turns.get(element) === turn && element.isConnected;
  const say = (text) => put(element, h("p", { class: "near-wait" }, h("span", { class: "pill is-busy" }, "Searching"), text));
  say("");
  try {
    let probe = null;
    for (let tries = 0; tries < TRIES && (!probe || isGone(probe)) && isMine(); tries += 1) {
      probe = await ask();
      for (let look = 0; !ENDED.has(probe.status) && isMine(); look += 1) {
        if (look > 2) say(probe.queue_position ? `#${number(probe.queue_position)} in the ingest queue` : "Computing embeddings");
        await new Promise((go) => setTimeout(go, LOOK_MS[Math.min(look, LOOK_MS.length - 1)]));
        probe = await get(`${at}/${probe.id}`);
      }
    }
    if (probe.status === "succeeded" && !probe.result) probe = await get(`${at}/${probe.id}`);
    if (!isMine()) return;
    if (probe.result) put(element, ...lines(probe, image));
    else refuse(element, { title: "The search failed", detail: probe.status_reason?.message ?? "", hint: probe.status_reason?.hint ?? "" });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (isMine()) refuse(element, problem);
    if (problem.status === 401) await attempt(() => { throw problem; });
  }
}

function refuse(element, { title, detail, hint }) {
  put(element, h("div", { class: "notice is-bad", role: "alert" }, h("strong", {}, `${title}.`), h("span", {}, prose([detail, hint].filter(Boolean).join(" ")))));
}

/** Return the queries of a result, each with its neighbors. */
function lines(probe, image) {
  const { probes, note, tile_px: side } = probe.result;
  const address = probe.tiles_url;
  const made = probes.map((one, line) => h("li", { class: "near-line" },
    tile({ ...one, name: one.row === null ? image?.name ?? one.name : one.name }, { address, side, line, place: 0 }, one.row === null ? "your image" : `row ${number(one.row)}`),
    h("ol", { class: "near-tiles", tabindex: sideways.matches ? "0" : null, "aria-label": `Neighbors of ${one.label ?? one.name}` }, one.neighbours.map((near, place) =>
      h("li", {}, tile(near, { address, side, line, place: place + 1 }, near.similarity.toFixed(3), one.label))))));
  return [h("ol", { class: "near-lines" }, made), h("div", { class: "row" },
    h("p", { class: "muted small" }, [agreement(probes), note].filter(Boolean).join(" ")),
    h("span", { class: "push" }, h("a", { class: "button", href: probe.sheet_url, download: `neighbours-${probe.id}.png` }, "Download as PNG")))];
}

/** Return one image, cropped from the contact sheet. */
function tile({ name, label, row }, { address, side, line, place }, below, wanted = null) {
  const img = h("img", { src: address, width: side, height: side, alt: label ? `${label}: ${name}` : name, title: `${name}${row === null ? "" : `, row ${number(row)}`}` });
  img.style.objectPosition = `-${place * side}px -${line * side}px`;
  const other = wanted !== null && label !== null && label !== wanted;
  return h("figure", { class: other ? "near-tile other" : "near-tile" }, img,
    h("figcaption", { class: "words" }, h("div", { class: "what", title: name }, label ?? name.split("/").pop(), other && h("span", { class: "hidden-label" }, " (different label)")), h("div", { class: "alike" }, below)));
}

/** "8 of 10 neighbors have the same label as their query." Empty without labels. */
function agreement(probes) {
  const pairs = probes.filter((one) => one.label !== null).flatMap((one) => one.neighbours.filter((near) => near.label !== null).map((near) => near.label === one.label));
  return pairs.length ? `${number(pairs.filter(Boolean).length)} of ${number(pairs.length)} neighbors have the same label as their query.` : "";
}

function nothing(job) {
  if (!mayChange) return empty("No searches yet", "Running a search needs the key in api.key. Results stay here for a day.");
  if (ENDED.has(job.status)) return empty("No encoder", "The job stopped before its first checkpoint. Resume it to continue.", command(`moco resume ${job.id}`));
  return empty("No encoder yet", "Neighbor search is available after the first checkpoint.", button("Refresh", () => location.reload()));
}

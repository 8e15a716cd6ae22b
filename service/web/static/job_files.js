// Files of a job with size and hash, and the code that loads them.

import { get } from "./api.js";
import { command, copyButton, empty, h, prose, put } from "./dom.js";
import { ENDED, bytes, number } from "./format.js";

const WHAT = {
  "encoder.safetensors": "fp32 weights, with the key names of torchvision, or of timm for a ViT",
  "model.safetensors": "same weights, named as timm and transformers expect",
  "preprocessor_config.json": "image processor config for transformers",
  "encoder.pth": "same weights for torch.load(weights_only=True)",
  "encoder.onnx": "encoder for ONNX runtimes, any number of images at a time; of a finetune job with logits",
  "hf/model.safetensors": "weights in the folder that timm and transformers load",
  "hf/config.json": "its model config",
  "hf/preprocessor_config.json": "its image processor config",
  "best/encoder.safetensors": "weights of the step with the best value of best_by",
  "best/config.json": "their model config",
  "best/preprocess.json": "their preprocessing config",
  "torchvision.pth": "weights that torchvision's network loads strictly",
  "training_state.safetensors": "heads, key encoder and queue",
  "config.json": "model config for timm and transformers",
  "preprocess.json": "preprocessing config",
  "embeddings.parquet": "row, name, label and embedding of every image",
  "atlas.png": "embedding map",
  "evaluation.json": "figures of each evaluator with interval and baselines, and tables",
  "README.md": "model card: data, settings, results, limits",
  "profile.json": "time profile of the run",
  "SHA256SUMS": "checksums for sha256sum -c",
};

export async function files(element, { job }) {
  const found = (await get(`/v1/jobs/${job.id}/artifacts`)).data;
  if (!found.length) return put(element, nothing(job));
  const card = found.some((one) => one.name === "README.md") ? await get(`/v1/jobs/${job.id}/artifacts/README.md`, { as: "text" }) : "";
  put(element, h("div", { class: "stack" },
    h("section", { class: "card" }, h("h2", {}, "Files"), h("ul", { class: "list" }, found.map((one) => file(job, one)))),
    h("section", { class: "card tight" }, h("h2", {}, "Download all (CLI, checksummed)"), h("p", {}, command(`moco download ${job.id} --out encoder`))),
    h("section", { class: "card stack" }, h("h2", {}, "Load the encoder"), snippets(card))));
}

function file(job, { name, size_bytes: size, sha256, url }) {
  return h("li", { class: "row" },
    h("div", { class: "tight" }, h("strong", { class: "mono" }, name), h("span", { class: "muted small" }, `${WHAT[name] ?? ""} · ${bytes(size)}`),
      h("span", { class: "row" }, h("span", { class: "sha muted" }, sha256), copyButton(sha256, `the sha256 of ${name}`))),
    h("a", { class: "button push", href: url ?? `/v1/jobs/${job.id}/artifacts/${name.split("/").map(encodeURIComponent).join("/")}`, download: name.replace("/", "-"), "aria-label": `Download ${name}` }, "Download"));
}

/** The code blocks of the card's section on loading, each under its own text. */
function snippets(card) {
  const section = /## Load it\n([\s\S]*?)(?=\n## |$)/.exec(card)?.[1] ?? "";
  const pieces = section.split("```");
  if (pieces.length < 3) return [h("p", { class: "muted" }, "The model card has no code.")];
  const blocks = [];
  for (let place = 1; place < pieces.length; place += 2) {
    const words = pieces[place - 1].trim().split("\n\n").pop().replace(/\s+/g, " ");
    const code = pieces[place].replace(/^\w*\n/, "").trim();
    blocks.push(h("div", { class: "tight" },
      h("div", { class: "row" }, h("p", { class: "muted" }, prose(words || "In Python:")), h("span", { class: "push" }, copyButton(code, "the code"))),
      h("pre", { class: "code", tabindex: "0" }, code)));
  }
  return blocks;
}

function nothing(job) {
  if (!ENDED.has(job.status)) return empty("No files yet", "Files are published when training finishes.", command(`moco wait ${job.id}`));
  return empty("No files", `The job stopped early and published no files. Resume it to ${job.checkpoint_step ? `continue from the checkpoint at step ${number(job.checkpoint_step)}` : "start over"}.`, command(`moco resume ${job.id}`));
}

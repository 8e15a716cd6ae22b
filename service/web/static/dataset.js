// One dataset: summary, augmentation preview, and rejected files with reasons.

import { addressOf } from "./address.js";
import { call, get } from "./api.js";
import { $, button, copyButton, facts, h, plain, prose, put, table } from "./dom.js";
import { KEPT, bytes, clock, number, percent, value as said } from "./format.js";
import { attempt, persist, tell } from "./notices.js";
import { mayChange, pill } from "./parts.js";

const EVERY_MS = 1500;
const REPORT_ROWS = 50;
const REASONS = {
  unreadable: "unreadable",
  truncated: "truncated",
  wrong_type: "not an image",
  oversize: "too many pixels",
  duplicate: "duplicate of another file",
  truncated_kept: "truncated, kept",
  pages_left_out: "extra pages skipped",
  empty: "empty",
  refused: "rejected because of its name or type",
  other_depth: "bit depth differs from most",
  other_channels: "channel count differs from most",
  missing_file: "listed but missing",
  unlisted: "not listed in the table",
  bad_cell: "invalid value in the table",
  bad_mask: "unusable mask",
};

const root = $("dataset");
const name = root.dataset.dataset;

async function load() {
  const found = await get(`/v1/datasets/${name}`);
  document.title = plain(`${found.name} · mocoserve`);
  const report = found.status === "ready" || found.status === "failed" ? await get(`/v1/datasets/${name}/report?limit=${REPORT_ROWS}`) : null;
  const job = found.job_id && !report ? await get(`/v1/jobs/${found.job_id}`).catch(() => null) : null;
  put(root, head(found), reason(found), job ? preparing(job) : null,
    warnings(found.facts),
    found.facts ? h("div", { class: "two" }, h("div", { class: "stack" }, inside(found.facts, found), sizes(found.facts)), samples(found)) : null, report && (found.facts || report.data.length) ? leftOut(found, report) : null);
  if (["received", "preparing"].includes(found.status)) setTimeout(() => persist(load).catch(tell), EVERY_MS);
}

function head(found) {
  return h("div", { class: "tight" },
    h("p", { class: "crumb" }, h("a", { href: "/ui/datasets" }, "Datasets"), " / ", h("span", { class: "mono muted" }, found.id), " ", copyButton(found.id, "the id")),
    h("div", { class: "head" }, h("div", { class: "head-title" }, h("h1", {}, found.name), pill(found.status)),
      h("div", { class: "actions" }, mayChange && found.status === "ready" ? h("a", { class: "button primary", href: `/ui/submit?dataset=${refOf(found)}` }, "Train") : null, removal(found))));
}

/** Return its name, or its id if the name refers to another version. */
const refOf = (found) => (found.is_current ? found.name : found.id);

function removal(found) {
  if (!mayChange) return null;
  return button("Delete", async () => {
    if (!confirm(`Delete ${found.name} and its files (${bytes(found.stored_bytes)})? This cannot be undone.`)) return;
    if (await attempt(() => call("DELETE", `/v1/datasets/${found.id}`))) location.assign(addressOf("/ui/datasets"));
  }, { class: "danger", id: "delete" });
}

function reason(found) {
  const { status, status_reason: why } = found;
  const told = (kind, title, text) => h("p", { class: `notice is-${kind}` }, h("strong", {}, title), h("span", {}, prose(text)));
  if (status === "received") {
    const arrived = `${bytes(found.received_bytes)}${found.size_bytes ? ` of ${bytes(found.size_bytes)}` : ""} uploaded.`;
    if (found.is_uploading) return told("warn", arrived, "Upload in progress.");
    return told("warn", arrived,
      `The upload ${found.received_bytes ? "was interrupted" : "has not started"}. To continue, choose the same file again under Datasets, with the name ${found.name} and stored as ${KEPT[found.store_as]}, or run \`moco dataset add FILE --name ${found.name}${found.store_as === "pixels" ? "" : ` --store-as ${found.store_as}`}\`.`);
  }
  if (why) return told("bad", why.message, why.hint);
  if (found.is_current) return null;
  return status === "ready"
    ? told("warn", "A newer version exists.", `The name ${found.name} refers to the newer one. Refer to this one by its id.`)
    : told("warn", "New version.", `It takes over the name ${found.name} when it is ready.`);
}

/** Return the warnings before training. */
function warnings(facts) {
  return (facts?.warnings ?? []).map((one) => h("p", { class: "notice is-warn", "data-warning": one.code }, h("strong", {}, one.message), h("span", {}, prose(one.hint))));
}

function preparing({ progress }) {
  const { rows_ok: ok = 0, rows_bad: bad = 0, bytes_done: done = 0, bytes_total: total } = progress;
  return h("section", { class: "card tight" }, h("h2", {}, "Preparing"),
    h("progress", { max: total ?? 1, value: total ? done : null, "aria-label": "Ingest" }),
    h("p", { class: "muted" }, `${number(ok)} images accepted, ${number(bad)} files rejected.`));
}

function inside(found, dataset) {
  const sides = found.same_size ? `${found.side_px_min} px, all the same` : `${found.side_px_min} to ${found.side_px_max} px, median ${found.side_px_median}`;
  const three = (values) => values.map((one) => one.toFixed(3)).join(", ");
  return h("section", { class: "card stack" }, h("h2", {}, "Summary"),
    facts([
      ["Images", number(found.rows)], ["Stored size", sides], ["Classes", found.labels.length ? number(found.labels.length) : "no labels"],
      ["Channels", number(found.channels ?? 3)], ["Pixel values", range(found.values)], ...(Object.keys(found.splits ?? {}).length ? [["Splits", Object.entries(found.splits).map(([name, rows]) => `${name} ${number(rows)}`).join(", ")]] : []),
      ...(found.masked_rows ? [["Images with masks", number(found.masked_rows)]] : []),
      ["Rejected files", number(found.bad_files)], ["Exact duplicates", number(found.duplicates)], ["Training data", `${bytes(found.size_bytes)}, stored as ${KEPT[dataset.store_as]}`],
      ["Disk usage", bytes(dataset.stored_bytes)], ["Channel means", three(found.mean)], ["Channel stds", three(found.std)], ["Added", clock(dataset.created_at)],
      ...(found.truncated_kept ? [["Truncated, kept", number(found.truncated_kept)]] : []),
      ["Ingest options", chosenOptions(dataset.options)],
    ]),
    found.labels.length ? h("p", { class: "small muted" }, `Labels: ${found.labels.slice(0, 30).join(", ")}${found.labels.length > 30 ? ", …" : ""}.`) : null);
}

const RULES = { identity: "unchanged", auto: "percentiles 0.1 and 99.9 of all pixels", full: "smallest and largest of all pixels", stated: "as given" };

/** Return the values of black and white, with the rule that chose them. */
function range(values) {
  if (!values) return "0 is black, 255 is white";
  const short = (value) => Number(value.toPrecision(6)).toString();
  return `${values.source_dtype}: ${short(values.low)} is black, ${short(values.high)} is white (${RULES[values.rule] ?? values.rule})`;
}

/** Return the options that affect rows, without those that only bound the cost. */
function chosenOptions(options) {
  return Object.entries(options).filter(([name, one]) => one !== null && !/_max$/.test(name.replace("side_px_max", ""))).map(([name, one]) => `${name} ${said(one)}`).join(", ");
}

/** Return the histogram of image sizes: a table with bars that screen readers skip. */
function sizes({ sides_sent: sides, rows: total }) {
  const card = h("section", { class: "card stack", id: "sizes" }, h("div", { class: "tight" }, h("h2", { id: "sizes-title" }, "Image sizes"),
    h("p", { class: "muted" }, sides ? "Shorter side of each uploaded image. Large images are downscaled for training." : "Not available: an older version prepared this dataset. Add the images again to see their sizes.")));
  if (!sides) return card;
  const most = Math.max(...sides.rows);
  const bar = (count) => {
    if (!count) return null;
    const made = h("div", { class: "bar-of", "aria-hidden": "true" });
    made.style.width = `${100 * count / most}%`;
    return made;
  };
  card.append(h("table", { class: "histogram", "aria-labelledby": "sizes-title" },
    h("thead", {}, h("tr", {}, ["shorter side", "", "images", "share"].map((word) => (word ? h("th", { scope: "col" }, word) : h("td", {}))))),
    h("tbody", {}, sides.rows.map((count, place) => h("tr", {},
      h("th", { scope: "row" }, `${number(sides.edges_px[place])} to ${number(sides.edges_px[place + 1] - 1)} px`),
      h("td", { class: "bar-cell" }, bar(count)), h("td", { class: "number" }, number(count)), h("td", { class: "number muted" }, count ? shareOf(count / total) : "–"))))));
  return card;
}

const shareOf = (ratio) => (ratio < 0.001 ? "< 0.1 %" : percent(ratio));

function samples(found) {
  return h("section", { class: "card stack" }, h("h2", {}, "Augmentation preview"),
    h("p", { class: "muted" }, "Sample images, each with two random views. The encoder learns to match the two views of an image."),
    h("img", { class: "picture", src: `/v1/datasets/${found.id}/preview.png`, alt: `Images of ${found.name}, each with two views` }));
}

function leftOut(found, report) {
  const counts = Object.entries(report.counts);
  const box = h("section", { class: "card stack", id: "left-out" }, h("h2", {}, "Rejected files"));
  if (!counts.length) {
    box.append(h("p", { class: "muted" }, "None: every file was read without errors."));
    return box;
  }
  const rows = [...report.data];
  const list = h("div", {});
  const more = button("Show more", async () => {
    const next = await get(`/v1/datasets/${name}/report?limit=${REPORT_ROWS}&after=${rows.length}`);
    rows.push(...next.data);
    fill(next.has_more);
  });
  const fill = (hasMore) => {
    put(list, table(["file", "reason", "detail"], rows.map((one) => [h("span", { class: "mono" }, one.name), one.reason, one.detail])));
    more.hidden = !hasMore;
  };
  fill(report.has_more);
  box.append(
    h("p", {}, counts.map(([why, count]) => `${number(count)} ${REASONS[why] ?? why}`).join("; "), ". Rejected files are not used for training."),
    list, h("div", { class: "actions" }, more, h("a", { class: "button", href: `/v1/datasets/${found.id}/report.csv`, download: `${found.name}-report.csv` }, "Download as CSV")));
  return box;
}

persist(load).catch((problem) => {
  tell(problem);
  put(root, h("h1", {}, problem.status === 404 ? "Dataset not found" : "Dataset"), h("p", {}, h("a", { href: "/ui/datasets" }, "All datasets")));
});

// One dataset: what is in it, what training will see of it, and which files were left out and why.

import { addressOf } from "./address.js";
import { call, get } from "./api.js";
import { $, button, copyButton, facts, h, plain, prose, put, table } from "./dom.js";
import { KEPT, bytes, clock, number, percent, value as said } from "./format.js";
import { attempt, persist, tell } from "./notices.js";
import { mayChange, pill } from "./parts.js";

const EVERY_MS = 1500;
const REPORT_ROWS = 50;
const REASONS = {
  unreadable: "cannot be read as an image",
  truncated: "ends too early",
  wrong_type: "is no image",
  oversize: "has too many pixels",
  duplicate: "has the same bytes as another file",
  truncated_kept: "is cut off, and kept",
  pages_left_out: "has further pages, which are left out",
  empty: "is empty",
  refused: "is left out for its name or kind",
  other_depth: "has another depth than most",
  other_channels: "has other channels than most",
  missing_file: "is named but not there",
  unlisted: "is in no table beside it",
  bad_cell: "has a value in its table that cannot be read",
  bad_mask: "has a mask that cannot be used",
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
      h("div", { class: "actions" }, mayChange && found.status === "ready" ? h("a", { class: "button primary", href: `/ui/submit?dataset=${refOf(found)}` }, "Train on it") : null, removal(found))));
}

/** What a job calls it: its name, unless that leads to another version. */
const refOf = (found) => (found.is_current ? found.name : found.id);

function removal(found) {
  if (!mayChange) return null;
  return button("Delete", async () => {
    if (!confirm(`Delete ${found.name} and its files (${bytes(found.stored_bytes)})? There is no way back.`)) return;
    if (await attempt(() => call("DELETE", `/v1/datasets/${found.id}`))) location.assign(addressOf("/ui/datasets"));
  }, { class: "danger", id: "delete" });
}

function reason(found) {
  const { status, status_reason: why } = found;
  const told = (kind, title, text) => h("p", { class: `notice is-${kind}` }, h("strong", {}, title), h("span", {}, prose(text)));
  if (status === "received") {
    const arrived = `${bytes(found.received_bytes)}${found.size_bytes ? ` of ${bytes(found.size_bytes)}` : ""} have arrived.`;
    if (found.is_uploading) return told("warn", arrived, "Its upload goes on.");
    return told("warn", arrived,
      `Its upload ${found.received_bytes ? "broke off" : "has not begun"}. To go on, choose the same file under Datasets again, with the name ${found.name}, kept as ${KEPT[found.store_as]}; or use \`moco dataset add FILE --name ${found.name}${found.store_as === "pixels" ? "" : ` --store-as ${found.store_as}`}\`.`);
  }
  if (why) return told("bad", why.message, why.hint);
  if (found.is_current) return null;
  return status === "ready"
    ? told("warn", "There is a newer version.", `The name ${found.name} leads to it; this one is found by its id only.`)
    : told("warn", "This is a new version.", `It takes the name ${found.name} once it is ready.`);
}

/** What a person should know before training on it. */
function warnings(facts) {
  return (facts?.warnings ?? []).map((one) => h("p", { class: "notice is-warn", "data-warning": one.code }, h("strong", {}, one.message), h("span", {}, prose(one.hint))));
}

function preparing({ progress }) {
  const { rows_ok: ok = 0, rows_bad: bad = 0, bytes_done: done = 0, bytes_total: total } = progress;
  return h("section", { class: "card tight" }, h("h2", {}, "Being prepared"),
    h("progress", { max: total ?? 1, value: total ? done : null, "aria-label": "Ingest" }),
    h("p", { class: "muted" }, `${number(ok)} images are good, ${number(bad)} files are not.`));
}

function inside(found, dataset) {
  const sides = found.same_size ? `${found.side_px_min} px, all alike` : `${found.side_px_min} to ${found.side_px_max} px, median ${found.side_px_median}`;
  const three = (values) => values.map((one) => one.toFixed(3)).join(", ");
  return h("section", { class: "card stack" }, h("h2", {}, "What is in it"),
    facts([
      ["Images", number(found.rows)], ["Sides as kept", sides], ["Classes", found.labels.length ? number(found.labels.length) : "no labels"],
      ["Channels", number(found.channels ?? 3)], ["Values", range(found.values)], ...(Object.keys(found.splits ?? {}).length ? [["Splits", Object.entries(found.splits).map(([name, rows]) => `${name} ${number(rows)}`).join(", ")]] : []),
      ["Bad files", number(found.bad_files)], ["Exact duplicates", number(found.duplicates)], ["Prepared size", `${bytes(found.size_bytes)}, kept as ${KEPT[dataset.store_as]}`],
      ["On the disk", bytes(dataset.stored_bytes)], ["Mean of channels", three(found.mean)], ["Std of channels", three(found.std)], ["Added", clock(dataset.created_at)],
      ...(found.truncated_kept ? [["Cut off and kept", number(found.truncated_kept)]] : []),
      ["Read with", chosenOptions(dataset.options)],
    ]),
    found.labels.length ? h("p", { class: "small muted" }, `Labels are used for evaluation only: ${found.labels.slice(0, 30).join(", ")}${found.labels.length > 30 ? ", …" : ""}.`) : null);
}

const RULES = { identity: "as they are", auto: "percentiles 0.1 and 99.9 of all pixels", full: "smallest and largest of all pixels", stated: "as stated" };

/** Which values are seen as black and as white, and why these. */
function range(values) {
  if (!values) return "0 is black, 255 is white";
  const short = (value) => Number(value.toPrecision(6)).toString();
  return `${values.source_dtype}: ${short(values.low)} is black, ${short(values.high)} is white (${RULES[values.rule] ?? values.rule})`;
}

/** The options that say how rows look; those that only bound the cost are left aside. */
function chosenOptions(options) {
  return Object.entries(options).filter(([name, one]) => one !== null && !/_max$/.test(name.replace("side_px_max", ""))).map(([name, one]) => `${name} ${said(one)}`).join(", ");
}

/** How many images are how large: a table whose bars are drawn for the eye, and left out for the ear. */
function sizes({ sides_sent: sides, rows: total }) {
  const card = h("section", { class: "card stack", id: "sizes" }, h("div", { class: "tight" }, h("h2", { id: "sizes-title" }, "How large the images are"),
    h("p", { class: "muted" }, sides ? "The shorter side of each image as it was sent. Training sees large ones shrunk." : "An older version prepared this dataset and did not count it. Add the images again to see it.")));
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
  return h("section", { class: "card stack" }, h("h2", {}, "What training sees"),
    h("p", { class: "muted" }, "Some of its images, each beside two random views of it. The two views are what the encoder learns to match."),
    h("img", { class: "picture", src: `/v1/datasets/${found.id}/preview.png`, alt: `Images of ${found.name}, each with two views` }));
}

function leftOut(found, report) {
  const counts = Object.entries(report.counts);
  const box = h("section", { class: "card stack", id: "left-out" }, h("h2", {}, "What was left out, or kept in part"));
  if (!counts.length) {
    box.append(h("p", { class: "muted" }, "Nothing: every file is a good image."));
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
    h("p", {}, counts.map(([why, count]) => `${number(count)} ${REASONS[why] ?? why}`).join("; "), ". Training goes on without them."),
    list, h("div", { class: "actions" }, more, h("a", { class: "button", href: `/v1/datasets/${found.id}/report.csv`, download: `${found.name}-report.csv` }, "Download as CSV")));
  return box;
}

persist(load).catch((problem) => {
  tell(problem);
  put(root, h("h1", {}, problem.status === 404 ? "There is no such dataset" : "Dataset"), h("p", {}, h("a", { href: "/ui/datasets" }, "All datasets")));
});

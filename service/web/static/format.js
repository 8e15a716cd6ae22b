// Numbers, times and states in words.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** 1536 -> "1.5 kB". Powers of 1000, as disks and networks count. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** Seconds -> "3 min 20 s", two units at most. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (seconds < 1) return "under 1 s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => whole >= size);
  let rest = whole;
  const said = [];
  for (const [size, word] of parts.slice(first, first + 2)) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number) said.push(`${number} ${word}`);
  }
  return said.join(" ");
}

/** Seconds since 1970 -> "5 min ago". */
export function ago(timeS) {
  if (!timeS) return "–";
  const passed = nowS() - timeS;
  return passed < 5 ? "just now" : `${duration(passed).split(" ").slice(0, 2).join(" ")} ago`;
}

/** Seconds since 1970 as a date and time of this place. */
export function clock(timeS) {
  if (!timeS) return "–";
  return new Date(1000 * timeS).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** A number with as many digits as help: 0.4213, 12.3, 1,204. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toPrecision(3);
}

export const percent = (ratio) => (ratio === null || ratio === undefined ? "–" : `${(100 * ratio).toFixed(1)} %`);

/** "sensitivity_at_95" -> "sensitivity at 95". */
export const plainName = (name) => name.replaceAll("_", " ");

/** A value of a spec as a person would write it. */
export function value(found) {
  if (found === null || found === undefined) return "none";
  if (typeof found === "boolean") return found ? "yes" : "no";
  if (typeof found === "number") return String(Number(found.toPrecision(6)));
  if (Array.isArray(found)) return found.map(value).join(" to ");
  if (typeof found === "object") return Object.keys(found).length ? JSON.stringify(found) : "none";
  return String(found);
}

/** The clock of the service, as far as this page knows it. */
export function nowS() {
  return (Date.now() + skewMs) / 1000;
}
const skewMs = Number(document.body.dataset.nowMs) - Date.now();

export const LOOKS = {
  queued: ["Queued", "is-idle"],
  running: ["Running", "is-busy"],
  stopping: ["Stopping", "is-warn"],
  paused: ["Paused", "is-warn"],
  cancelled: ["Cancelled", "is-idle"],
  succeeded: ["Succeeded", "is-ok"],
  failed: ["Failed", "is-bad"],
  received: ["Uploading", "is-idle"],
  preparing: ["Preparing", "is-busy"],
  ready: ["Ready", "is-ok"],
  idle: ["Idle", "is-ok"],
  busy: ["Busy", "is-busy"],
  draining: ["Draining", "is-warn"],
  lost: ["Lost", "is-bad"],
};
export const ENDED = new Set(["succeeded", "failed", "cancelled"]);
export const ACTIVE = new Set(["queued", "running", "stopping"]);

/** How rows of a dataset can be kept, in words. */
export const KEPT = { pixels: "pixels", jpeg: "JPEG" };

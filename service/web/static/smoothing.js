// How curves are looked at: smoothed or not, on which scale. Kept by the browser for all jobs.

const KEPT_AS = "mocoserve.curves";
const USUAL = { smoothing: 0, log: false };

/** The exponential moving average of values, freed of its bias towards zero, as TensorBoard does it. */
export function smoothed(values, weight) {
  let sum = 0;
  let left = 1;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    left *= weight;
    return sum / (1 - left);
  });
}

/** What was chosen the last time; the usual where a browser keeps nothing. */
export function readView() {
  try {
    const { smoothing, log } = JSON.parse(localStorage.getItem(KEPT_AS)) ?? {};
    return { smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : USUAL.smoothing, log: log === true };
  } catch {
    return { ...USUAL };
  }
}

export function keepView(view) {
  try {
    localStorage.setItem(KEPT_AS, JSON.stringify(view));
  } catch {
    // A browser that keeps nothing shows the usual the next time.
  }
}

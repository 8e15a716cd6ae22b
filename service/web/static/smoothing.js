// View of curves: smoothing and scale, kept by the browser for all jobs.

const KEPT_AS = "mocoserve.curves";
const USUAL = { smoothing: 0, log: false };

/** Return the bias-corrected exponential moving average of values, as in TensorBoard. */
export function smoothed(values, weight) {
  let sum = 0;
  let left = 1;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    left *= weight;
    return sum / (1 - left);
  });
}

/** Return the last choice, or the default if the browser has none. */
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
    // Without storage, the next page has the defaults.
  }
}

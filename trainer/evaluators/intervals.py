"""95 % intervals of figures: pure functions of the values and a seed, in float64."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.rng.philox import uniforms
from trainer.rng.seeds import derived_seed
from trainer.schema.evaluation import Features, Figure

Z = 1.959963984540054
"""Quantile .975 of the normal distribution."""
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Quantile .975 of Student's distribution with 1 to 10 degrees of freedom."""
RESAMPLES = 500
"""Resamples of a bootstrap."""

Counts = NDArray[np.int64]
"""Number of times that each row is in a resample, [n]."""
Statistic = Callable[[Counts], float]
"""Figure of the rows as often as they count; NaN where it is not defined."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share `right` / `n`; (0, 1) for n = 0.

    Source: Wilson, "Probable inference", J. Am. Stat. Assoc. 22 (1927).
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z * Z
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    # The ends of 0 and n are exact: rounding must not push them past the share.
    return (0.0 if right == 0 else center - half), (1.0 if right == n else center + half)


def share(
    name: str, right: int, n: int, *, features: Features = "trained encoder"
) -> tuple[Figure, ...]:
    """Return a share of `n` rows as a figure with Wilson's interval; none for n = 0."""
    if n == 0:
        return ()
    low, high = wilson(right, n)
    return (
        Figure(
            name=name,
            value=right / n,
            n=n,
            low=low,
            high=high,
            interval="wilson",
            features=features,
        ),
    )


def bootstrap(
    name: str,
    statistic: Statistic,
    *,
    n: int,
    seed: int,
    features: Features = "trained encoder",
) -> tuple[Figure, ...]:
    """Return a statistic of `n` rows as a figure with its bootstrap interval (percentiles).

    `statistic` gets the counts of a resample and is first asked for all rows once. Resamples
    depend on (seed, n) alone, so that figures of the same rows are resampled alike. No figure
    if the statistic is NaN for all rows; resamples with NaN are left out.
    """
    value = float(statistic(np.ones(n, np.int64))) if n else float("nan")
    if not np.isfinite(value):
        return ()
    values = np.array([statistic(counts) for counts in resamples(n, seed=seed)])
    low, high = percentiles(values)
    return (
        Figure(
            name=name,
            value=value,
            n=n,
            low=low,
            high=high,
            interval="bootstrap",
            features=features,
        ),
    )


def bootstrap_mean(
    name: str, values: NDArray[np.float64], *, seed: int, features: Features = "trained encoder"
) -> tuple[Figure, ...]:
    """Return the mean of one value a row, such as of each query, as a figure with its interval."""
    column = np.asarray(values, np.float64)

    def mean(counts: Counts) -> float:
        return float(counts @ column / len(column))

    return bootstrap(name, mean, n=len(column), seed=seed, features=features)


def bootstrap_means(
    columns: Mapping[str, NDArray[np.float64]],
    *,
    seed: int,
    features: Features = "trained encoder",
) -> tuple[Figure, ...]:
    """Return the means of columns of one length as figures, all from the same resamples."""
    n = len(next(iter(columns.values())))
    if n == 0:
        return ()
    values = np.stack([*columns.values()], axis=1)
    means = np.stack(resamples(n, seed=seed)) @ values / n
    ends = [percentiles(column) for column in means.T]
    return tuple(
        Figure(name=name, value=float(column.mean()), n=n, low=low, high=high,
               interval="bootstrap", features=features)
        for (name, column), (low, high) in zip(columns.items(), ends, strict=True)
    )  # fmt: skip


def draws(
    name: str, values: NDArray[np.float64], *, features: Features = "trained encoder"
) -> tuple[Figure, ...]:
    """Return the mean of one value a draw as a figure: mean +- t x standard error (Student)."""
    column = np.asarray(values, np.float64)
    half = student(len(column) - 1) * standard_error(column) if len(column) > 1 else None
    mean = float(column.mean())
    return (
        Figure(
            name=name,
            value=mean,
            n=len(column),
            low=None if half is None else mean - half,
            high=None if half is None else mean + half,
            interval=None if half is None else "draws",
            features=features,
        ),
    )


def standard_error(values: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of at least two values."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def student(degrees: int) -> float:
    """Return the quantile .975 of Student's distribution, to 0.0005, for `degrees` >= 1.

    Beyond the table: Cornish and Fisher's expansion to the third power of 1 / degrees.
    """
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    z = Z
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


@lru_cache(maxsize=2)
def resamples(n: int, *, seed: int) -> tuple[Counts, ...]:
    """Return RESAMPLES resamples of `n` rows, drawn with replacement and keyed by the seed.

    Kept, as all figures of the same rows ask for the same ones.
    """
    key = derived_seed(seed, "bootstrap")
    return tuple(_resample(n, number, key) for number in range(RESAMPLES))


def percentiles(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return percentiles 2.5 and 97.5 of the values that are not NaN; None if there are none."""
    held = values[np.isfinite(values)]
    if not len(held):
        return None, None
    low, high = np.percentile(held, (2.5, 97.5))
    return float(low), float(high)


def _resample(n: int, number: int, key: int) -> Counts:
    words = uniforms(torch.tensor([number]), seed=key, epoch=0, view=0, count=n)[0]
    rows = np.minimum((words.numpy().astype(np.float64) * n).astype(np.int64), n - 1)
    return np.bincount(rows, minlength=n)

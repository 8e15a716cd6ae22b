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
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to load

    column, n = np.asarray(values, np.float64), len(values)
    half = float(stdtrit(n - 1, 0.975)) * standard_error(column) if n > 1 else None
    mean = float(column.mean())
    return (
        Figure(
            name=name,
            value=mean,
            n=n,
            low=None if half is None else mean - half,
            high=None if half is None else mean + half,
            interval=None if half is None else "draws",
            features=features,
        ),
    )


def standard_error(values: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of at least two values."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


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

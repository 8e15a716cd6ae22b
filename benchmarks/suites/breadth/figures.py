"""Figures over seeds and over rows, each with its interval of 95 %."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # comes with scikit-learn

from benchmarks.suites.baselines import interval

DRAWS = 1_000
"""Resamples of a bootstrap."""
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """Mean of the seeds with Student's interval."""

    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the seeds."""
        return mean(self.by_seed)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; 0 of a single value."""
        values = self.by_seed
        return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Student's interval for the mean."""
        return interval(self.by_seed)

    def __str__(self) -> str:
        return with_interval(self.mean, self.interval)

    def __sub__(self, other: "Figure") -> "Figure":
        """Return the difference, seed by seed."""
        pairs = zip(self.by_seed, other.by_seed, strict=True)
        return Figure(tuple(mine - theirs for mine, theirs in pairs))


def with_interval(value: float, bounds: tuple[float, float]) -> str:
    """Return a figure and its interval in words."""
    return f"{value:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})"


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], rows: int) -> tuple[float, float]:
    """Return the percentile interval of a statistic of resampled rows.

    The same rows are drawn for all that the statistic compares, so that differences are paired.
    """
    random = np.random.default_rng(0)
    values = [statistic(random.integers(0, rows, rows)) for _ in range(DRAWS)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def auroc(scores: Values, positive: NDArray[np.bool_]) -> Values:
    """Return areas under the ROC curves of scores [..., N], ties half, by Mann and Whitney's U."""
    ranks = np.asarray(rankdata(scores, axis=-1), np.float64)
    positives = int(positive.sum())
    others = len(positive) - positives
    above = ranks[..., positive].sum(axis=-1) - positives * (positives + 1) / 2
    return np.asarray(above / (positives * others))

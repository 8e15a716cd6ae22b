"""Interleaved rounds: order of the runs, and ratios of their times.

A round runs the subject, then each of the others, then the subject again; the next round runs the
others backwards. Drift of the machine within a round then favors no arm. The ratio of a round
compares another arm with the mean of both runs of the subject; the ratio of those two to each other
(A/A) shows what a ratio is worth when nothing differs.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Ratios:
    """One ratio per round, with their median and its interval."""

    each: tuple[float, ...]
    median: float
    low: float
    """Lower end of the bootstrap interval of the median."""
    high: float


def round_order(round_number: int, others: Sequence[str], *, subject: str) -> list[str]:
    """Return the arms of a round, counted from 0, in order: A B C A, then A C B A."""
    middle = list(others) if round_number % 2 == 0 else list(reversed(others))
    return [subject, *middle, subject]


def relative_speeds(
    subject_s: Sequence[tuple[float, float]], other_s: Sequence[float], *, seed: int = 0
) -> Ratios:
    """Return the subject's speed relative to the other's, from the seconds of each round."""
    pairs = zip(subject_s, other_s, strict=True)
    return summarize([2.0 * other / (first + last) for (first, last), other in pairs], seed=seed)


def noise_ratios(subject_s: Sequence[tuple[float, float]], *, seed: int = 0) -> Ratios:
    """Return the A/A ratios: the subject against itself."""
    return summarize([last / first for first, last in subject_s], seed=seed)


def summarize(ratios: Sequence[float], *, seed: int = 0) -> Ratios:
    """Median and interval of the rounds' ratios."""
    low, high = median_interval(ratios, seed=seed)
    return Ratios(tuple(ratios), median(ratios), low, high)


def median_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap of the median (Efron 1979): the middle 95 % of resampled medians."""
    rng = random.Random(seed)
    medians = sorted(median(rng.choices(values, k=len(values))) for _ in range(resamples))
    tail = round((1.0 - LEVEL) / 2.0 * resamples)
    return medians[tail], medians[resamples - 1 - tail]

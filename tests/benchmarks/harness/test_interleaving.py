"""Ratios of rounds, against sums done by other means."""

import math
from itertools import product
from statistics import median

import pytest

from benchmarks.harness.interleaving import (
    median_interval,
    noise_ratios,
    relative_speeds,
    round_order,
    summarize,
)


def test_every_other_round_runs_the_others_backwards() -> None:
    assert round_order(0, ["b", "c"], subject="a") == ["a", "b", "c", "a"]
    assert round_order(1, ["b", "c"], subject="a") == ["a", "c", "b", "a"]
    assert round_order(2, ["b", "c"], subject="a") == round_order(0, ["b", "c"], subject="a")


def test_a_steady_drift_favours_nobody() -> None:
    """Each block takes as much longer as the one before did; b takes three times as long as a."""
    clock = 0

    def seconds(name: str) -> float:
        nonlocal clock
        clock += 1
        return (3.0 if name == "b" else 1.0) * (1.0 + 0.1 * clock)

    pairs, others = [], []
    for number in range(4):
        blocks = [seconds(name) for name in round_order(number, ["b"], subject="a")]
        pairs.append((blocks[0], blocks[2]))
        others.append(blocks[1])
    assert relative_speeds(pairs, others).each == pytest.approx([3.0] * 4)
    assert noise_ratios(pairs).median > 1.0


def test_a_ratio_is_how_many_times_as_fast_the_subject_is() -> None:
    found = relative_speeds([(1.0, 3.0), (2.0, 2.0), (4.0, 4.0)], [4.0, 6.0, 4.0])
    assert found.each == (2.0, 3.0, 1.0)
    assert found.median == 2.0
    assert (found.low, found.high) == (1.0, 3.0)
    assert noise_ratios([(1.0, 3.0), (2.0, 2.0)]).each == (3.0, 1.0)


def test_rounds_must_be_as_many_in_both_arms() -> None:
    with pytest.raises(ValueError, match="longer"):
        relative_speeds([(1.0, 1.0)], [1.0, 1.0])


def test_the_interval_is_that_of_all_resamples() -> None:
    """All 3,125 resamples of five values can be counted instead of drawn."""
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    medians = sorted(median(chosen) for chosen in product(values, repeat=5))
    low, high = (medians[math.floor(share * len(medians))] for share in (0.025, 0.975))
    assert median_interval(values) == (low, high) == (1.0, 16.0)
    # One value far out among nine moves a mean, but not this.
    assert median_interval([1.0] * 8 + [1000.0]) == (1.0, 1.0)


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    """Intervals of 11 uniform draws hold the median in about 95 of 100 cases, never under 88."""
    import random

    numbers = random.Random(1)
    hits = 0
    for seed in range(200):
        low, high = median_interval([numbers.random() for _ in range(11)], seed=seed, resamples=400)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 1.0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [1.0, 1.2, 1.1, 0.9, 1.05, 1.3]
    assert summarize(values, seed=3) == summarize(values, seed=3)
    assert summarize([2.0]).low == summarize([2.0]).high == 2.0

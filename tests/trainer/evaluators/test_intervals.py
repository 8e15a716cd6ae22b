"""Intervals against scipy, and against properties that resamples must have."""

import numpy as np
import pytest
from scipy import stats

from trainer.evaluators.intervals import (
    bootstrap,
    bootstrap_means,
    draws,
    resamples,
    share,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 10), (10, 10), (871, 1000)])
def test_wilsons_interval_is_that_of_scipy(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high))
    (figure,) = share("right", right, n)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.value <= figure.high


def test_a_share_of_nothing_is_no_figure() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert share("right", 0, 0) == ()


def test_draws_have_students_interval() -> None:
    values = np.array([0.61, 0.58, 0.64, 0.6, 0.7])
    (figure,) = draws("accuracy", values)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (figure.low, figure.high) == pytest.approx(expected)
    (single,) = draws("accuracy", values[:1])
    assert (single.low, single.high, single.interval, single.n) == (None, None, None, 1)


def test_the_bootstrap_is_near_the_normal_interval_of_a_mean_and_depends_on_its_seed_alone() -> (
    None
):
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    (figure,) = bootstrap_means({"mean": values}, seed=5)
    half = 1.96 * stats.sem(values)
    assert figure.value == pytest.approx(values.mean())
    assert (figure.low, figure.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.25 * half
    )
    assert bootstrap_means({"mean": values}, seed=5) == (figure,)
    assert bootstrap_means({"mean": values}, seed=6) != (figure,)


def test_every_resample_has_as_many_rows_and_every_row_is_as_likely() -> None:
    counts = np.array(resamples(30, seed=1))
    assert (counts.sum(1) == 30).all()
    expected = len(counts)
    assert stats.chisquare(counts.sum(0), np.full(30, expected)).pvalue > 1e-3


def test_a_statistic_that_is_not_defined_is_left_out() -> None:
    """A resample without the first row is left out, too."""
    assert bootstrap("nothing", lambda _: float("nan"), n=9, seed=0) == ()
    assert bootstrap("nothing", lambda _: 1.0, n=0, seed=0) == ()
    (figure,) = bootstrap("some", lambda counts: 1.0 if counts[0] else float("nan"), n=9, seed=0)
    assert (figure.low, figure.high) == (1.0, 1.0)

"""The timer against a manual clock, whose every step is known."""

from contextlib import suppress

import pytest
import torch

from trainer.timing.phase_timer import HostTimer, NullTimer, PhaseTimer, timer_for
from trainer.timing.phase_totals import RECENT_STEPS, Tally, Times


class Hands:
    """Source of stamps with a manual clock and a device that may lag behind."""

    def __init__(self) -> None:
        self.now_s, self.device_s, self.waits = 0.0, float("inf"), 0

    def stamp(self) -> float:
        return self.now_s

    def is_past(self, stamp: float, *, wait: bool) -> bool:
        if wait and stamp > self.device_s:
            self.device_s, self.waits = stamp, self.waits + 1
        return stamp <= self.device_s

    def seconds(self, begin: float, end: float) -> float:
        return end - begin


def step(timer: NullTimer, hands: Hands, *, views_s: float = 2.0, rows: int = 8) -> None:
    """A step of `views_s` + 5 s, one of them in no phase."""
    with timer.phase("views"):
        hands.now_s += views_s
    for _ in range(2):  # as the symmetric loss has it
        with timer.phase("query"):
            hands.now_s += 2.0
    hands.now_s += 1.0
    timer.end_step(rows)


def measured(timer: NullTimer, *, wait: bool = False) -> Times:
    times = timer.times(wait=wait)
    assert times is not None
    return times


def test_phases_and_the_rest_add_up_to_the_steps() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=0)
    for _ in range(3):
        step(timer, hands)
    times = measured(timer)
    assert (times.steps, times.rows, times.steps_s, times.step_median_s) == (3, 24, 21.0, 7.0)
    assert times.phases_s == {"views": 6.0, "query": 12.0, "other": 3.0}
    assert times.counts == {"views": 3, "query": 6, "other": 3}
    assert times.share("views", "query") == pytest.approx(18 / 21)


def test_a_phase_within_another_costs_nothing_more() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=0)
    with timer.phase("query"), timer.phase("key"):
        hands.now_s += 5.0
    timer.end_step(8)
    assert measured(timer).phases_s == {"query": 5.0, "other": 0.0}


def test_the_first_steps_are_left_out_with_all_that_was_in_them() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=2)
    with timer.phase("evaluation"):
        hands.now_s += 100.0
    for views_s in (50.0, 40.0):
        step(timer, hands, views_s=views_s)
        assert timer.times() is None
    step(timer, hands)
    assert measured(timer).steps == 1
    assert measured(timer).whole_s == 7.0


def test_what_comes_between_steps_is_a_share_of_the_whole_and_no_part_of_a_step() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=0)
    step(timer, hands)
    with timer.phase("evaluation"):
        hands.now_s += 3.0
        with timer.phase("gather"):  # rows of the evaluation are not rows of a step
            hands.now_s += 4.0
    step(timer, hands)
    with timer.phase("evaluation"):
        hands.now_s += 7.0
    timer.end_step(rows=0)
    times = measured(timer)
    assert (times.steps, times.steps_s, times.step_median_s) == (2, 14.0, 7.0)
    assert (times.phases_s["evaluation"], times.counts["evaluation"]) == (14.0, 2)
    assert "gather" not in times.phases_s
    assert times.share("evaluation") == 0.5
    assert times.share("views") == pytest.approx(2 / 7)


def test_a_phase_that_fails_ends_all_the_same() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=0)
    with suppress(ValueError), timer.phase("backward"):
        hands.now_s += 1.0
        raise ValueError("broken")
    step(timer, hands)
    assert measured(timer).phases_s["backward"] == 1.0


def test_a_device_that_lags_is_waited_for_only_when_asked() -> None:
    hands = Hands()
    timer = PhaseTimer(hands, warm_up_steps=0)
    hands.device_s = 10.0  # it has done one step of 7 s
    for _ in range(3):
        step(timer, hands)
    assert (measured(timer).steps, hands.waits) == (1, 0)
    hands.device_s = 14.0
    assert (measured(timer).steps, hands.waits) == (2, 0)
    assert (measured(timer, wait=True).steps, hands.waits) == (3, 1)


def test_a_long_run_costs_no_more_memory_than_a_short_one() -> None:
    tally = Tally()
    for number in range(3 * RECENT_STEPS):
        tally.add(1.0 + (number >= 2 * RECENT_STEPS), [], rows=1)
    times = tally.times()
    assert times is not None
    assert times.step_median_s == 2.0
    assert times.steps_s == 4.0 * RECENT_STEPS
    assert len(tally._recent_s) == RECENT_STEPS


def test_without_a_profile_nothing_is_measured() -> None:
    timer = timer_for(torch.device("cpu"), profile=False)
    assert type(timer) is NullTimer
    with timer.phase("views"), timer.phase("query"):
        timer.end_step(8)
    assert timer.times() is None
    assert timer.phase("views") is timer.phase("key")  # nothing is made anew


def test_a_cpu_is_measured_by_the_clock_of_the_host() -> None:
    timer = timer_for(torch.device("cpu"), profile=True)
    assert isinstance(timer, PhaseTimer)
    stamps = HostTimer()
    begin = stamps.stamp()
    end = stamps.stamp()
    assert stamps.seconds(begin, end) == end - begin >= 0.0
    assert stamps.is_past(end, wait=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_measured_in_its_own_stream_and_never_waited_for() -> None:
    device = torch.device("cuda")
    timer = timer_for(device, profile=True)
    left, right = torch.randn(2, 4096, 4096, device=device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(30):
            with timer.phase("query"):
                for _ in range(10):
                    right = (left @ right).tanh_()
            with timer.phase("loss"):
                right.sum()
            timer.end_step(16)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    times = measured(timer, wait=True)
    assert times.steps == 25
    assert sum(times.phases_s.values()) == pytest.approx(times.steps_s, rel=1e-3)
    assert times.share("query") > 0.8

"""What is made ahead is what would have been made here; what is not ready in time is not."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from trainer import ahead
from trainer.ahead import REST_STEPS, Ahead


def test_each_is_made_once_in_another_thread_that_steps_back() -> None:
    made: list[tuple[int, int, int]] = []

    def make(step: int) -> int:
        made.append((step, threading.get_native_id(), os.sched_getscheduler(0)))
        return step * step

    before = os.sched_getscheduler(0)
    with Ahead(make) as steps:
        for step in range(5):
            steps.begin(step)
            assert wait_for(steps, step) == step * step
    assert [step for step, _, _ in made] == list(range(5))
    assert {policy for _, _, policy in made} == {os.SCHED_IDLE}
    assert threading.get_native_id() not in {thread for _, thread, _ in made}
    assert os.sched_getscheduler(0) == before != os.SCHED_IDLE


def wait_for(steps: Ahead[int], step: int) -> int | None:
    """`take`, once it is made: a busy machine may take its time."""
    begun = steps._begun
    assert begun is not None
    begun[1].exception(30.0)
    return steps.take(step)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def test_what_is_not_ready_in_time_is_given_up_for_a_while(gate: threading.Event) -> None:
    begun: list[int] = []

    def make(step: int) -> int:
        begun.append(step)
        gate.wait(30.0)
        return step

    with Ahead(make) as steps:
        steps.begin(7)
        began_s = time.monotonic()
        assert steps.take(7) is None
        assert time.monotonic() - began_s >= ahead.GRACE_S
        gate.set()
        for step in range(8, 7 + REST_STEPS):
            steps.begin(step)
            assert steps.take(step) is None
        assert begun in ([], [7])  # nobody had to run the thread at all
        steps.begin(7 + REST_STEPS)
        assert wait_for(steps, 7 + REST_STEPS) == 7 + REST_STEPS


def test_nothing_is_given_for_another_step_or_twice() -> None:
    with Ahead(str) as steps:
        assert steps.take(0) is None
        steps.begin(1)
        assert steps.take(2) is None
        assert steps.take(1) is None


def test_what_went_wrong_is_raised_by_who_takes_it() -> None:
    def make(step: int) -> int:
        raise ValueError(f"row {step} is damaged")

    with Ahead(make) as steps:
        steps.begin(3)
        with pytest.raises(ValueError, match="row 3 is damaged"):
            wait_for(steps, 3)


def test_a_system_that_forbids_it_takes_the_thread_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with Ahead(lambda step: step + 1) as steps:
        steps.begin(1)
        assert wait_for(steps, 1) == 2


def test_its_thread_ends_with_it() -> None:
    with Ahead(str) as steps:
        steps.begin(1)
        named = [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
        assert named
    assert not [thread for thread in named if thread.is_alive()]

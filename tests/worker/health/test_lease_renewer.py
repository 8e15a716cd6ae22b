from collections.abc import Callable

import pytest

from service.store.lease_clock import LeaseClock
from service.store.records import Desired, DrainState
from service.store.store_errors import Fenced, StoreUnavailable
from tests.support.system.processes import wait_until
from worker.health.heartbeat import Heartbeat
from worker.health.lease_renewer import LeaseRenewer


class Renewals:
    """A store's answers, one after another; the last one stays."""

    def __init__(self, *answers: Desired | Exception) -> None:
        self.answers, self.calls = list(answers), 0

    def __call__(self) -> Desired:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def renewer_of(renewals: Renewals, changes: list[str]) -> LeaseRenewer:
    return LeaseRenewer(renewals, every_s=0.01, on_change=lambda: changes.append("changed"))


def test_an_outage_changes_nothing() -> None:
    renewals, changes = Renewals("run", StoreUnavailable("away")), list[str]()
    with renewer_of(renewals, changes) as renewer:
        wait_until(lambda: renewals.calls > 5, 2.0)
        assert (renewer.lost, renewer.away, renewer.desired) == (False, True, "run")
        renewals.answers.append("run")
        renewals.calls = 2
        wait_until(lambda: not renewer.away, 2.0)
    assert changes == []


@pytest.mark.parametrize("desired", ["cancel", "pause"])
def test_a_desired_state_is_recorded_once(desired: Desired) -> None:
    renewals, changes = Renewals("run", desired), list[str]()
    with renewer_of(renewals, changes) as renewer:
        wait_until(lambda: renewals.calls > 5, 2.0)
        renewer.set_desired(desired)
        assert renewer.desired == desired
    assert changes == ["changed"]


def test_a_refusal_is_final() -> None:
    renewals, changes = Renewals(Fenced("job_1"), "run"), list[str]()
    with renewer_of(renewals, changes) as renewer:
        wait_until(lambda: renewer.lost, 2.0)
        renewer.lose()
    assert renewals.calls == 1
    assert changes == ["changed"]


class Clock:
    """A tick counter that may be away, and a beat that may say drain."""

    def __init__(self) -> None:
        self.tick_now, self.beats, self.drain = 0, 0, False
        self.drained = False
        self.fail: Callable[[], None] = lambda: None

    def current(self) -> int:
        self.fail()
        return self.tick_now

    def tick(self, seen: int) -> int:
        self.fail()
        if seen == self.tick_now:
            self.tick_now += 1
        return self.tick_now

    def beat(self) -> DrainState:
        self.beats += 1
        return DrainState(self.drain, undrains=0)

    def on_reply(self, state: DrainState) -> None:
        self.drained = state.draining

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            LeaseClock(self.current, self.tick),
            beat=self.beat,
            tick_s=0.02,
            beat_every_ticks=3,
            on_reply=self.on_reply,
        )


def test_the_heartbeat_ticks_beats_and_hears_drain() -> None:
    clock = Clock()
    with clock.heartbeat():
        wait_until(lambda: clock.tick_now >= 6, 2.0)
        assert 2 <= clock.beats <= 4
        assert not clock.drained
        clock.drain = True
        wait_until(lambda: clock.drained, 2.0)


def test_no_answer_no_tick() -> None:
    def away() -> None:
        raise StoreUnavailable("away")

    clock = Clock()
    clock.fail = away
    with clock.heartbeat():
        wait_until(lambda: clock.beats > 3, 2.0)
        assert clock.tick_now == 0
        clock.fail = lambda: None
        wait_until(lambda: clock.tick_now > 1, 2.0)

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import alive
from trainer.events import Event, Logged, Stepped
from worker.process.child_monitor import Attendant, Wish
from worker.process.child_request import Orders
from worker.process.forkserver_client import Nursery
from worker.process.shutdown import Wake
from worker.process.stop_sequence import Rung, StopLadder


def test_the_rungs_come_at_their_times_and_once() -> None:
    ladder = StopLadder(grace_s=10.0)
    assert ladder.due(100.0) == []
    assert ladder.next_in_s(100.0) is None
    ladder.ask(100.0)
    ladder.ask(103.0)  # asking again does not begin anew
    assert ladder.due(103.0) == [Rung.ASK]
    assert ladder.next_in_s(103.0) == 2.0
    assert ladder.due(104.9) == []
    assert ladder.due(105.0) == [Rung.TERM]
    assert ladder.due(110.0) == [Rung.KILL]
    assert ladder.due(1e9) == []
    assert ladder.next_in_s(1e9) is None


def test_a_late_look_climbs_every_rung_that_is_due() -> None:
    ladder = StopLadder(grace_s=1.0)
    ladder.ask(0.0)
    assert ladder.due(60.0) == [Rung.ASK, Rung.TERM, Rung.KILL]


@pytest.mark.parametrize("asked", [True, False])
def test_kill_now_skips_the_wait(asked: bool) -> None:
    ladder = StopLadder(grace_s=1000.0)
    if asked:
        ladder.ask(5.0)
        assert ladder.due(5.0) == [Rung.ASK]
    ladder.kill_now()
    assert ladder.due(5.0)[-1] is Rung.KILL
    assert ladder.asked


class Watched:
    """A fake child under an attendant, stopped as soon as it has stepped."""

    def __init__(self, nursery: Nursery, folder: Path, *, grace_s: float) -> None:
        self.heard: list[Event] = []
        self.stepped_at_s: float | None = None
        self.folder = folder
        self.wake = Wake()
        self.attendant = Attendant(nursery, self.wake, StopLadder(grace_s))

    def run(self, kind: str, wish: Callable[[], Wish] | None = None) -> int:
        orders = Orders(kind=kind, out=str(self.folder))  # type: ignore[arg-type]
        return self.attendant.watch(orders, wish=wish or self._stop, on_event=self._hear)

    def _hear(self, event: Event, _text: str) -> None:
        self.heard.append(event)
        if isinstance(event, Stepped) and self.stepped_at_s is None:
            self.stepped_at_s = time.monotonic()

    def _stop(self) -> Wish:
        return Wish.RUN if self.stepped_at_s is None else Wish.STOP

    def took_s(self) -> float:
        assert self.stepped_at_s is not None
        return time.monotonic() - self.stepped_at_s


def test_one_that_hears_is_only_asked(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=20.0)
    assert watched.run("obeys") == 0
    assert watched.took_s() < 2.0
    assert watched.heard[-1].type == "ended"


def test_one_that_is_deaf_is_told_at_half_of_the_grace(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=1.0)
    assert watched.run("deaf") == 9
    assert 0.4 < watched.took_s() < 0.95
    assert (tmp_path / "closed").exists()


def test_one_that_is_stubborn_is_killed_at_its_end(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=0.6)
    assert watched.run("stubborn") == -signal.SIGKILL
    assert 0.5 < watched.took_s() < 2.0


def test_a_lost_lease_kills_at_once(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=1000.0)
    assert watched.run("stubborn", lambda: Wish.KILL if watched.heard else Wish.RUN) == -9
    assert watched.took_s() < 2.0


def test_a_killed_forkserver_is_a_killed_child(tmp_path: Path) -> None:
    """The kernel ends the child; the attendant neither hangs nor raises."""
    nursery = Nursery("tests.support.fake_child:run")
    try:
        nursery.ensure()
        watched = Watched(nursery, tmp_path, grace_s=1000.0)

        def wish() -> Wish:
            if watched.heard and nursery.pid and alive(nursery.pid):
                os.kill(nursery.pid, signal.SIGKILL)
            return Wish.RUN

        assert watched.run("stubborn", wish) == -signal.SIGKILL
    finally:
        nursery.close()


def test_lines_that_are_no_events_are_counted(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=1.0)
    assert watched.run("babbles", lambda: Wish.RUN) == 0
    assert watched.heard == [Stepped(step=7, epoch=0.7, signals={"loss": 1 / 7})]
    assert watched.attendant.garbage_lines == 3


def test_more_than_the_pipe_holds_arrives_whole(nursery: Nursery, tmp_path: Path) -> None:
    watched = Watched(nursery, tmp_path, grace_s=1.0)
    orders = {"kind": "floods", "out": str(tmp_path), "lines": 5000}

    class Many(Orders):
        def as_json(self) -> dict[str, object]:
            return orders

    many = Many(kind="train", out=str(tmp_path))
    status = watched.attendant.watch(many, wish=lambda: Wish.RUN, on_event=watched._hear)
    assert status == 0
    numbers = [int(e.message.split()[0]) for e in watched.heard if isinstance(e, Logged)]
    assert numbers == list(range(5000))


def test_news_from_a_thread_or_a_signal_wakes_at_once(nursery: Nursery, tmp_path: Path) -> None:
    """A wake is seen long before the attendant's own turn of a second."""
    watched = Watched(nursery, tmp_path, grace_s=1000.0)
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.monotonic())
        watched.wake.set()

    timer = threading.Timer(0.2, ask)
    timer.start()
    status = watched.run("stubborn", lambda: Wish.KILL if asked else Wish.RUN)
    assert status == -signal.SIGKILL
    assert time.monotonic() - asked[0] < 0.5
    timer.join()

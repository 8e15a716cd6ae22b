import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.system.processes import alive
from trainer.schema.events import Event, Logged, Stepped
from worker.process.child_monitor import ChildMonitor, DesiredState
from worker.process.child_request import ChildRequest
from worker.process.forkserver_client import ForkserverClient
from worker.process.shutdown import WakePipe
from worker.process.stop_sequence import StopSequence, StopStage


def test_the_stages_come_at_their_times_and_once() -> None:
    sequence = StopSequence(grace_s=10.0)
    assert sequence.due(100.0) == []
    assert sequence.next_in_s(100.0) is None
    sequence.ask(100.0)
    sequence.ask(103.0)  # asking again does not begin anew
    assert sequence.due(103.0) == [StopStage.ASK]
    assert sequence.next_in_s(103.0) == 2.0
    assert sequence.due(104.9) == []
    assert sequence.due(105.0) == [StopStage.TERM]
    assert sequence.due(110.0) == [StopStage.KILL]
    assert sequence.due(1e9) == []
    assert sequence.next_in_s(1e9) is None


def test_a_late_look_climbs_every_stage_that_is_due() -> None:
    sequence = StopSequence(grace_s=1.0)
    sequence.ask(0.0)
    assert sequence.due(60.0) == [StopStage.ASK, StopStage.TERM, StopStage.KILL]


@pytest.mark.parametrize("requested", [True, False])
def test_kill_now_skips_the_wait(requested: bool) -> None:
    sequence = StopSequence(grace_s=1000.0)
    if requested:
        sequence.ask(5.0)
        assert sequence.due(5.0) == [StopStage.ASK]
    sequence.kill_now()
    assert sequence.due(5.0)[-1] is StopStage.KILL
    assert sequence.requested


class Watched:
    """A fake child under an monitor, stopped as soon as it has stepped."""

    def __init__(self, forkserver: ForkserverClient, folder: Path, *, grace_s: float) -> None:
        self.heard: list[Event] = []
        self.stepped_at_s: float | None = None
        self.folder = folder
        self.wake_pipe = WakePipe()
        self.monitor = ChildMonitor(forkserver, self.wake_pipe, StopSequence(grace_s))

    def run(self, kind: str, desired: Callable[[], DesiredState] | None = None) -> int:
        request = ChildRequest(kind=kind, out=str(self.folder))  # type: ignore[arg-type]
        return self.monitor.run(request, desired=desired or self._stop, on_event=self._hear)

    def _hear(self, event: Event, _text: str) -> None:
        self.heard.append(event)
        if isinstance(event, Stepped) and self.stepped_at_s is None:
            self.stepped_at_s = time.monotonic()

    def _stop(self) -> DesiredState:
        return DesiredState.RUN if self.stepped_at_s is None else DesiredState.STOP

    def took_s(self) -> float:
        assert self.stepped_at_s is not None
        return time.monotonic() - self.stepped_at_s


def test_one_that_hears_is_only_asked(forkserver: ForkserverClient, tmp_path: Path) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=20.0)
    assert watched.run("obeys") == 0
    assert watched.took_s() < 2.0
    assert watched.heard[-1].type == "ended"


def test_one_that_is_deaf_is_told_at_half_of_the_grace(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=1.0)
    assert watched.run("deaf") == 9
    assert 0.4 < watched.took_s() < 0.95
    assert (tmp_path / "closed").exists()


def test_one_that_is_stubborn_is_killed_at_its_end(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=0.6)
    assert watched.run("stubborn") == -signal.SIGKILL
    assert 0.5 < watched.took_s() < 2.0


def test_a_lost_lease_kills_at_once(forkserver: ForkserverClient, tmp_path: Path) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=1000.0)
    assert (
        watched.run("stubborn", lambda: DesiredState.KILL if watched.heard else DesiredState.RUN)
        == -9
    )
    assert watched.took_s() < 2.0


def test_a_killed_forkserver_is_a_killed_child(tmp_path: Path) -> None:
    """The kernel ends the child; the monitor neither hangs nor raises."""
    forkserver = ForkserverClient("tests.support.worker.fake_child:run")
    try:
        forkserver.ensure()
        watched = Watched(forkserver, tmp_path, grace_s=1000.0)

        def desired() -> DesiredState:
            if watched.heard and forkserver.pid and alive(forkserver.pid):
                os.kill(forkserver.pid, signal.SIGKILL)
            return DesiredState.RUN

        assert watched.run("stubborn", desired) == -signal.SIGKILL
    finally:
        forkserver.close()


def test_lines_that_are_no_events_are_counted(forkserver: ForkserverClient, tmp_path: Path) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=1.0)
    assert watched.run("babbles", lambda: DesiredState.RUN) == 0
    assert watched.heard == [Stepped(step=7, epoch=0.7, signals={"loss": 1 / 7})]
    assert watched.monitor.invalid_lines == 3


def test_more_than_the_pipe_holds_arrives_whole(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    watched = Watched(forkserver, tmp_path, grace_s=1.0)
    orders = {"kind": "floods", "out": str(tmp_path), "lines": 5000}

    class Many(ChildRequest):
        def as_json(self) -> dict[str, object]:
            return orders

    many = Many(kind="train", out=str(tmp_path))
    status = watched.monitor.run(many, desired=lambda: DesiredState.RUN, on_event=watched._hear)
    assert status == 0
    numbers = [int(e.message.split()[0]) for e in watched.heard if isinstance(e, Logged)]
    assert numbers == list(range(5000))


def test_news_from_a_thread_or_a_signal_wakes_at_once(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    """A wake is seen long before the monitor's own turn of a second."""
    watched = Watched(forkserver, tmp_path, grace_s=1000.0)
    requested: list[float] = []

    def ask() -> None:
        requested.append(time.monotonic())
        watched.wake_pipe.set()

    timer = threading.Timer(0.2, ask)
    timer.start()
    status = watched.run("stubborn", lambda: DesiredState.KILL if requested else DesiredState.RUN)
    assert status == -signal.SIGKILL
    assert time.monotonic() - requested[0] < 0.5
    timer.join()

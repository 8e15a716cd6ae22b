"""Ranks of a gang as real processes under torchrun's agent: their events, ends and failures."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from tests.support.system.processes import alive, wait_until
from trainer.schema.events import Ended, Event, Logged, Stepped
from worker.process.child_monitor import ChildMonitor, DesiredState
from worker.process.child_request import RESULT_FILE, ChildRequest, Gang
from worker.process.exit_status import LOST, describe_exit
from worker.process.forkserver_client import ForkserverClient
from worker.process.gang import ended_of, interface_of
from worker.process.shutdown import WakePipe
from worker.process.stop_sequence import StopSequence

START_S, GONE_S, GRACE_S = 120.0, 20.0, 6.0
PRELOAD = ["worker.process.gang"]


@pytest.fixture(scope="module")
def forkserver() -> Iterator[ForkserverClient]:
    made = ForkserverClient("tests.support.worker.fake_gang:run", preload=PRELOAD)
    made.ensure()
    made.wait_ready(START_S)
    yield made
    made.close()


class Watched:
    """A gang under a monitor, which does something once the gang has stepped three times."""

    def __init__(self, forkserver: ForkserverClient, out: Path, *, ranks: int = 2) -> None:
        self.out, self.ranks = out, ranks
        self.events: list[Event] = []
        self._forkserver = forkserver

    def run(self, habit: str, then: Callable[["Watched"], DesiredState]) -> int:
        gang = Gang(ranks=self.ranks, run_id="job-1")
        request = ChildRequest(kind="train", out=str(self.out), pack=habit, gang=gang)
        wake_pipe = WakePipe()
        monitor = ChildMonitor(self._forkserver, wake_pipe, StopSequence(GRACE_S))
        try:
            return monitor.run(
                request,
                desired=lambda: then(self) if len(self.steps) >= 3 else DesiredState.RUN,
                on_event=lambda event, _text: self.events.append(event),
            )
        finally:
            wake_pipe.close()

    @property
    def steps(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, Stepped)]

    @property
    def ended(self) -> Ended:
        return Ended.model_validate_json((self.out / RESULT_FILE).read_text())

    def pids(self) -> list[int]:
        return [int((self.out / f"pid{rank}").read_text()) for rank in range(self.ranks)]

    def wait_gone(self) -> None:
        wait_until(lambda: not any(map(alive, self.pids())), GONE_S, "all ranks are gone")


def keep_running(_watched: Watched) -> DesiredState:
    return DesiredState.RUN


@pytest.mark.parametrize("ranks", [2, 3])
def test_stop_ends_all_ranks_after_the_same_step(
    forkserver: ForkserverClient, tmp_path: Path, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(forkserver, tmp_path, ranks=ranks)
    assert watched.run("trains", lambda _: DesiredState.STOP) == 0
    last = [int((tmp_path / f"last{rank}").read_text()) for rank in range(ranks)]
    assert last == [watched.ended.step] * ranks
    assert watched.steps == list(range(1, last[0] + 1))  # the first rank alone sends events
    assert [event for event in watched.events if isinstance(event, Ended)] == [watched.ended]
    told = watched.events[0]
    assert isinstance(told, Logged)
    assert json.loads(told.message) == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "TORCHELASTIC_RUN_ID": "job-1",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    watched.wait_gone()


def test_the_agent_listens_on_loopback_alone(forkserver: ForkserverClient, tmp_path: Path) -> None:
    addresses: set[str] = set()

    def look(watched: Watched) -> DesiredState:
        if addresses:
            return DesiredState.STOP
        agent = psutil.Process(watched.pids()[0]).parent()
        assert agent
        listening = [each for each in agent.net_connections("inet") if each.status == "LISTEN"]
        addresses.update(each.laddr.ip for each in listening)
        return DesiredState.STOP

    assert Watched(forkserver, tmp_path).run("trains", look) == 0
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize("habit", ["deaf", "trains"])
def test_a_lost_lease_kills_every_rank(
    forkserver: ForkserverClient, tmp_path: Path, habit: str
) -> None:
    watched = Watched(forkserver, tmp_path)
    assert watched.run(habit, lambda _: DesiredState.KILL) == -signal.SIGKILL
    watched.wait_gone()


def test_a_rank_that_fails_is_the_reason(forkserver: ForkserverClient, tmp_path: Path) -> None:
    watched = Watched(forkserver, tmp_path)
    assert watched.run("fails", keep_running) == 0
    watched.wait_gone()
    expected = Ended(outcome="failed", code="oom", message="rank 1 has no memory left")
    assert watched.ended == watched.events[-1] == expected


def test_a_rank_that_is_killed_is_the_reason(forkserver: ForkserverClient, tmp_path: Path) -> None:
    watched = Watched(forkserver, tmp_path)
    assert watched.run("dies", keep_running) == 0
    watched.wait_gone()
    message = f"The process of rank 1 {describe_exit(-signal.SIGKILL)}"
    assert watched.ended == Ended(outcome="failed", code=LOST, message=message)


def test_no_rank_outlives_the_forkserver(tmp_path: Path) -> None:
    forkserver = ForkserverClient("tests.support.worker.fake_gang:run", preload=PRELOAD)
    try:
        forkserver.ensure()
        forkserver.wait_ready(START_S)
        watched = Watched(forkserver, tmp_path)

        def kill_it(_watched: Watched) -> DesiredState:
            if forkserver.pid and alive(forkserver.pid):
                os.kill(forkserver.pid, signal.SIGKILL)
            return DesiredState.RUN

        assert watched.run("deaf", kill_it) == -signal.SIGKILL
        watched.wait_gone()
    finally:
        forkserver.close()


def failure(exitcode: int, *, code: str = "", at_s: float = 0.0) -> ProcessFailure:
    made = ProcessFailure(local_rank=0, pid=1, exitcode=exitcode, error_file="none")
    if code:
        ended = Ended(outcome="failed", code=code, message=f"it was {code}")
        made.error_file_data = {"failure": {"ended": ended.model_dump(mode="json"), "at_s": at_s}}
    return made


@pytest.mark.parametrize(
    ("failures", "code", "words"),
    [
        # The first error is the cause of the others, whatever the rank.
        (
            {0: failure(1, code="internal", at_s=2.5), 1: failure(1, code="oom", at_s=2.1)},
            "oom",
            "Rank 1: it was oom",
        ),
        # Whoever waits for a rank may hear of its end before it has told why.
        (
            {0: failure(1, code="rank_lost", at_s=1.0), 1: failure(1, code="oom", at_s=1.5)},
            "oom",
            "Rank 1: it was oom",
        ),
        # All ranks refuse the same spec.
        (
            {rank: failure(1, code="bad_spec", at_s=1.0) for rank in range(4)},
            "bad_spec",
            "it was bad_spec",
        ),
        # A rank that was killed comes before the errors of those that waited for it.
        ({0: failure(1, code="internal", at_s=1.0), 3: failure(-9)}, LOST, "rank 3 was killed"),
        ({0: failure(-15), 1: failure(-11)}, LOST, "rank 1 crashed (SIGSEGV)"),
        # The agent ended the others with SIGTERM.
        ({0: failure(-15), 1: failure(1, code="storage", at_s=9.0)}, "storage", "it was storage"),
        ({0: failure(-15), 1: failure(3)}, LOST, "rank 1 left with exit code 3"),
    ],
)
def test_the_cause_is_the_rank_that_failed_first(
    failures: dict[int, ProcessFailure], code: str, words: str
) -> None:
    ended = ended_of(failures)
    assert (ended.outcome, ended.code) == ("failed", code)
    assert words in ended.message


def test_the_interface_of_an_address_is_that_of_the_system() -> None:
    assert interface_of("127.0.0.1") == interface_of("localhost") == "lo"
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        interface_of("192.0.2.1")  # for documentation alone, so no machine has it

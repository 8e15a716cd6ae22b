"""One worker with several slots, on a host with GPUs that only its driver knows.

Its children print what they see in place of training.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.jobs.waiting import waiting_reason
from service.store.records import JobRecord, WorkerRecord
from service.store.store_errors import WrongState
from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import FakeCard, FakeInstance, FakeMachine
from tests.support.system.processes import alive, children_of, wait_until
from tests.support.worker.gpu_host import BROKEN, DONE, SEES
from tests.support.worker.stack import Stack, WorkerProcess, running_stack

GPUS = [f"GPU-{i}0000000-0000-0000-0000-00000000000{i}" for i in range(8)]
EIGHT = FakeMachine(tuple(map(FakeCard, GPUS)))
NINE_PARTS = {"name": "moco", "bn_splits": 18}
ONE = FakeMachine((FakeCard(GPUS[0]),))
TWO = FakeMachine(tuple(map(FakeCard, GPUS[:2])))
SLICES = FakeMachine(
    (FakeCard("GPU-mig", mig=True, instances=(FakeInstance("MIG-1"), FakeInstance("MIG-2"))),)
)


@dataclass
class Host:
    """A stack with one worker whose children wait until they are let go."""

    stack: Stack
    worker: WorkerProcess
    pack: str
    submitted: list[str] = field(default_factory=list)

    def submit(self, count: int, **changes: Any) -> list[str]:  # noqa: ANN401
        spec = {"batch_rows": 16, "epochs": 1} | changes
        jobs = [self.stack.submit(self.pack, **spec) for _ in range(count)]
        self.submitted += jobs
        return jobs

    def job(self, job_id: str) -> JobRecord:
        return self.stack.store.jobs.get(job_id)

    def record(self) -> WorkerRecord:
        (record,) = self.stack.store.workers.list()
        return record

    def sees(self, job_id: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until the child of an attempt runs; return what it sees."""
        path = self._folder(job_id, attempt) / SEES
        wait_until(path.exists, 30.0, f"{job_id} runs: {self.worker.words()}")
        seen: dict[str, Any] = json.loads(path.read_text())
        return seen

    def let_go(self, job_id: str, attempt: int = 1) -> None:
        """Let a job succeed."""
        self.sees(job_id, attempt)
        (self._folder(job_id, attempt) / DONE).touch()
        assert self.stack.wait_for(job_id, "succeeded", "failed").status == "succeeded"

    def break_gpu(self, job_id: str, attempt: int = 1) -> str:
        """Let an attempt end with a device error; return its GPU."""
        gpu = str(self.sees(job_id, attempt)["visible"])
        (self._folder(job_id, attempt) / BROKEN).touch()
        return gpu

    def free_all(self) -> None:
        """Cancel every job that has not ended, and wait until all slots are free."""
        jobs = self.stack.store.jobs
        for job_id in self.submitted:
            with suppress(WrongState):  # it has ended
                jobs.cancel(job_id)
        self.submitted.clear()
        wait_until(lambda: not self.record().jobs, 30.0, "all slots are free")

    def _folder(self, job_id: str, attempt: int) -> Path:
        return self.stack.data_dir / "jobs" / job_id / "attempts" / str(attempt)


@contextmanager
def host(folder: Path, machine: FakeMachine = EIGHT, **environment: str) -> Iterator[Host]:
    words = {"MOCO_DEVICE": "auto", "MOCO_POOLS": "train", **fake_nvml.environment(machine)}
    with running_stack(folder, **words | environment) as stack:
        pack = stack.add_pack("made-up", rows=40)
        worker = stack.start_worker("tests.support.worker.gpu_host")
        stack.warm(worker)
        yield Host(stack, worker, pack)


@pytest.fixture(scope="module")
def shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("eight")) as eight:
        yield eight


@pytest.fixture
def eight(shared_host: Host) -> Iterator[Host]:
    """Yield a host with eight GPUs; its slots are free before and after."""
    yield shared_host
    shared_host.free_all()


def test_eight_gpus_run_eight_jobs_and_none_is_shared(eight: Host) -> None:
    jobs = eight.submit(9)
    seen = [eight.sees(job_id) for job_id in jobs[:8]]
    assert sorted(sight["visible"] for sight in seen) == GPUS
    assert {sight["device"] for sight in seen} == {"cuda:0"}
    assert {sight["order"] for sight in seen} == {"PCI_BUS_ID"}
    assert eight.job(jobs[8]).status == "queued"
    assert len({eight.job(job_id).worker_id for job_id in jobs[:8]}) == 1
    wait_until(lambda: eight.record().slots_busy == 8, 5.0, "it tells")
    record = eight.record()
    assert (record.slots, record.device, record.state) == (8, "cuda:0-7", "busy")
    assert sorted(record.jobs) == sorted(jobs[:8])
    eight.let_go(jobs[3])
    assert eight.sees(jobs[8])["visible"] == seen[3]["visible"]


def test_sigterm_hands_all_of_them_over_within_the_grace(tmp_path: Path) -> None:
    with host(tmp_path) as eight:
        jobs = eight.submit(8)
        pids = [eight.sees(job_id)["pid"] for job_id in jobs]
        eight.worker.signal(signal.SIGTERM)
        assert eight.worker.process.wait(10.0) == 0
        for job_id in jobs:
            job, (attempt,) = eight.job(job_id), eight.stack.store.jobs.attempts(job_id)
            assert (job.status, job.losses, job.failures) == ("queued", 0, 0)
            assert (attempt.outcome, attempt.code) == ("released", "preempted")
        assert not any(map(alive, pids))
        assert eight.stack.store.workers.list() == ()


def test_a_forkserver_that_dies_costs_every_job_an_attempt_and_nothing_else(eight: Host) -> None:
    jobs = eight.submit(8)
    pids = [eight.sees(job_id)["pid"] for job_id in jobs]
    (forkserver,) = children_of(eight.worker.pid)
    os.kill(forkserver, signal.SIGKILL)
    seen = [eight.sees(job_id, attempt=2) for job_id in jobs]
    assert sorted(sight["visible"] for sight in seen) == GPUS
    assert not any(map(alive, pids))
    for job_id in jobs:
        eight.let_go(job_id, attempt=2)
        job = eight.job(job_id)
        assert (job.attempt, job.losses, job.failures) == (2, 1, 0)
    assert eight.worker.process.poll() is None


def test_another_worker_takes_over_all_jobs_of_one_that_was_killed(tmp_path: Path) -> None:
    with host(tmp_path, TWO) as two:
        jobs = two.submit(2)
        pids = [two.sees(job_id)["pid"] for job_id in jobs]
        two.worker.signal(signal.SIGKILL)
        two.stack.warm(two.stack.start_worker("tests.support.worker.gpu_host"))
        seen = [two.sees(job_id, attempt=2)["visible"] for job_id in jobs]
        assert sorted(seen) == GPUS[:2]
        assert not any(map(alive, pids))
        assert [(two.job(job_id).losses, two.job(job_id).failures) for job_id in jobs] == [
            (1, 0)
        ] * 2


def test_a_killed_child_ends_its_own_attempt_alone(eight: Host) -> None:
    first, second = eight.submit(2)
    os.kill(eight.sees(first)["pid"], signal.SIGKILL)
    assert eight.sees(first, attempt=2)["device"] == "cuda:0"
    eight.sees(second)
    eight.let_go(second)
    assert eight.job(second).attempt == 1


def test_a_cancelled_job_leaves_the_others_alone(eight: Host) -> None:
    *jobs, next_one = eight.submit(9)
    seen = [eight.sees(job_id)["visible"] for job_id in jobs]
    eight.stack.store.jobs.cancel(jobs[2])
    eight.stack.wait_for(jobs[2], "cancelled")
    assert eight.sees(next_one)["visible"] == seen[2]
    assert {eight.job(job_id).status for job_id in jobs if job_id != jobs[2]} == {"running"}


@pytest.mark.parametrize(
    ("environment", "visible"),
    [
        ({"MOCO_DEVICE": "cuda:6,cuda:1"}, [GPUS[1], GPUS[6]]),
        ({"MOCO_SLOTS": "3"}, GPUS[:3]),
        ({"CUDA_VISIBLE_DEVICES": "5"}, [GPUS[5]]),  # `count: 1` in a compose file
        ({"MOCO_DEVICE": "cpu", "MOCO_SLOTS": "2"}, [None, None]),
    ],
)
def test_every_variable_that_names_devices_is_a_number_of_slots(
    tmp_path: Path, environment: dict[str, str], visible: list[str | None]
) -> None:
    """All forms of their values are in `tests/worker/gpus/test_inventory.py`."""
    with host(tmp_path, EIGHT, **environment) as some:
        *jobs, one_more = some.submit(len(visible) + 1)
        seen = [some.sees(job_id)["visible"] for job_id in jobs]
        assert sorted(map(str, seen)) == list(map(str, visible))
        assert some.job(one_more).status == "queued"


def test_mig_instances_are_slots_under_their_names(tmp_path: Path) -> None:
    with host(tmp_path, SLICES) as slices:
        jobs = slices.submit(2)
        assert sorted(slices.sees(job_id)["visible"] for job_id in jobs) == ["MIG-1", "MIG-2"]


def test_a_job_of_four_gpus_starts_among_jobs_of_one_and_starves_nobody(eight: Host) -> None:
    """It reserves what becomes free; jobs behind it wait meanwhile, and none for ever."""
    small = eight.submit(8)
    for job_id in small:
        eight.sees(job_id)
    (wide,) = eight.submit(1, resources={"gpus": 4})
    behind = eight.submit(2)
    for job_id in small[:3]:
        eight.let_go(job_id)
    assert [eight.job(job_id).status for job_id in (wide, *behind)] == ["queued"] * 3
    eight.let_go(small[3])
    visible = eight.sees(wide)["visible"].split(",")
    assert visible == [gpu for gpu in GPUS if gpu in visible]
    busy = {eight.sees(job_id)["visible"] for job_id in small[4:]}
    assert len({*visible, *busy}) == 8
    assert [eight.job(job_id).status for job_id in behind] == ["queued"] * 2
    for job_id in small[4:6]:
        eight.let_go(job_id)
    assert not {eight.sees(job_id)["visible"] for job_id in behind} & set(visible)


def test_a_job_of_nine_gpus_says_why_it_waits_and_keeps_nobody_waiting(eight: Host) -> None:
    (wide,) = eight.submit(1, resources={"gpus": 9}, batch_rows=36, method=NINE_PARTS)
    (small,) = eight.submit(1)
    eight.let_go(small)
    reason = waiting_reason(eight.job(wide), eight.stack.store.workers.list())
    assert reason
    assert reason.code == "no_worker_fits"
    assert {"8", "9"} <= set(re.findall(r"\d+", reason.message))


def break_until(machine: Host, job_id: str, errors: int, broken: list[str]) -> list[str]:
    """Break the GPUs of a job's attempts until `errors` came from GPUs that failed twice.

    Which GPU an attempt is given depends on whether the one before has left its slot yet.
    """
    broken = list(broken)
    while sum(count for gpu in set(broken) if (count := broken.count(gpu)) == 2) < errors:
        broken.append(machine.break_gpu(job_id, len(broken) + 1))
    return broken


def test_a_gpu_that_fails_twice_in_a_row_is_drained_until_an_operator_undrains_it(
    tmp_path: Path,
) -> None:
    with host(tmp_path, TWO) as two:
        (job_id,) = two.submit(1)
        broken = break_until(two, job_id, 2, [])
        first, other = broken[-1], next(gpu for gpu in GPUS[:2] if gpu != broken[-1])
        assert two.sees(job_id, attempt=len(broken) + 1)["visible"] == other
        wait_until(lambda: two.record().slots == 1, 5.0, "it tells")
        assert two.record().info["drained"] == {first: "Xid 79."}
        assert f"{first}: no more jobs after 2 device errors in a row" in two.worker.words()
        assert two.job(job_id).failures == 0

        broken = break_until(two, job_id, 4, broken)
        assert sorted(broken) == sorted(GPUS[:2] * 2)
        wait_until(lambda: two.record().state == "draining", 5.0, "all slots are drained")
        assert two.job(job_id).status == "queued"

        two.stack.store.workers.undrain(two.record().id)
        two.let_go(job_id, attempt=len(broken) + 1)
        wait_until(lambda: two.record().slots == 2, 5.0, "it tells")
        assert two.record().info["drained"] == {}


def test_errors_that_do_not_follow_one_another_drain_nothing(tmp_path: Path) -> None:
    with host(tmp_path, ONE) as one:
        (first,) = one.submit(1)
        one.break_gpu(first)
        one.let_go(first, attempt=2)
        (second,) = one.submit(1)
        one.break_gpu(second)
        one.let_go(second, attempt=2)
        assert one.record().info["drained"] == {}

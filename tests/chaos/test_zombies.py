"""A worker stops inside a commit window and wakes when another has done its job: it is refused."""

import signal
from pathlib import Path

import pytest

from service.store.records import JobRecord
from tests.support.chaos.world import SHORT
from tests.support.system.processes import alive, wait_until
from tests.support.worker.stack import Stack, WorkerProcess, changes_in, running_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
PATIENCE_S = 180.0
"""Limit of a wait on busy cores. Nothing here is measured."""
WINDOWS = ("worker.pre_append", "worker.pre_checkpoint", "worker.pre_complete")
JOB = {
    "epochs": 8,
    "batch_rows": 16,
    "evaluation": None,
    "signals_every_steps": 1,
    "checkpoint_every_steps": 5,
}


@pytest.mark.parametrize("window", WINDOWS)
def test_stopped_inside_a_commit_window(window: str, tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", **SHORT) as stack:
        pack = stack.add_pack("made-up", rows=80)
        golden = _golden(stack, pack)
        stack.workers[0].signal(signal.SIGSTOP)  # so that the other gets the job
        zombie = stack.start_worker(MOCO_FAILPOINTS=f"{window}=SIGSTOP@1*1")
        stack.warm(zombie)
        job_id = stack.submit(pack, **JOB)
        wait_until(lambda: _is_stopped(zombie), PATIENCE_S, f"it stops at {window}")
        stack.workers[0].signal(signal.SIGCONT)
        job = stack.wait_for(job_id, "succeeded", "failed", timeout_s=PATIENCE_S)
        assert (job.status, job.attempt, job.losses) == ("succeeded", 2, 1), job.message
        assert stack.artifacts(job) == golden
        own = stack.data_dir / job.folder / "attempts" / "1"
        wait_until(lambda: len(_checkpoints(stack, job)) == 1, PATIENCE_S, "old ones are removed")
        changed, events = changes_in(stack.data_dir / "jobs", apart_from=own), stack.events(job_id)
        zombie.signal(signal.SIGCONT)
        wait_until(lambda: "has expired" in zombie.words(), PATIENCE_S, zombie.words())
        assert stack.store.jobs.get(job_id) == job
        assert stack.events(job_id) == events
        assert changed() == []
        assert _completions(stack, job) == 1
        assert alive(zombie.pid)  # and it takes the next job


def _golden(stack: Stack, pack: str) -> dict[str, str]:
    stack.need_workers(1)
    job = stack.wait_for(stack.submit(pack, **JOB), "succeeded", "failed", timeout_s=PATIENCE_S)
    assert job.attempt == 1
    return stack.artifacts(job)


def _completions(stack: Stack, job: JobRecord) -> int:
    return sum(row.outcome == "succeeded" for row in stack.store.jobs.attempts(job.id))


def _checkpoints(stack: Stack, job: JobRecord) -> list[Path]:
    return [*(stack.data_dir / job.folder).glob("attempts/*/checkpoints/*")]


def _is_stopped(worker: WorkerProcess) -> bool:
    stat = Path(f"/proc/{worker.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"

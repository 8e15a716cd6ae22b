"""Redis forgets everything while fifty jobs are under way: the disk is enough."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.chaos.report import say
from tests.support.chaos.world import SHORT, World, running_world
from tests.support.system.processes import wait_until
from tests.support.worker.stack import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]
JOBS = 50
JOB = {
    "dataset": "golden",
    "encoder": {"name": "small"},
    "epochs": 3,
    "batch_rows": 16,
    "evaluation": None,
    "checkpoint_every_steps": 3,
}


def test_fifty_jobs_survive_a_wiped_redis(tmp_path: Path) -> None:
    with running_world(tmp_path / "data", workers=2, environment=SHORT) as world:
        world.wait_warm()
        stack, store = world.stack, world.stack.store
        with world.client() as client:
            dataset = world.add_dataset(client, "golden")
            client.datasets.wait(dataset, timeout_s=60.0)
            first = client.jobs.wait(client.jobs.create(JOB).id, timeout_s=60.0)
            golden = stack.artifacts(store.jobs.get(first.id))
            jobs = [client.jobs.create(JOB, idempotency_key=f"key-{n}").id for n in range(JOBS)]
            wait_until(lambda: _succeeded(world) >= 6, 120.0, "some have ended")
            paused = client.jobs.pause(jobs[-1]).id
            client.jobs.cancel(jobs[-2])
            wiped_s = time.monotonic()
            store.client.run(lambda redis: redis.flushall())
            wait_until(lambda: sum(store.jobs.counts().values()) == JOBS + 1, 20.0, "rebuilt")
            say(f"FLUSHALL to {JOBS + 1} jobs rebuilt: {time.monotonic() - wiped_s:.1f} s")
            assert store.jobs.get(paused).status == "paused"
            assert store.jobs.get(jobs[-2]).status == "cancelled"
            # What was told before is still true: a repeat of a submission makes no new job.
            assert client.jobs.create(JOB, idempotency_key="key-3").id == jobs[3]
            client.jobs.resume(paused)
            wait_until(lambda: _succeeded(world) == JOBS, 240.0, "all have ended")
        for job_id in [first.id, *jobs[:-2], paused]:
            job = store.jobs.get(job_id)
            assert job.status == "succeeded", (job_id, job.message)
            assert stack.artifacts(job) == golden
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "admin", "verify", "--deep"],
            cwd=ROOT,
            env=world.operator_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _succeeded(world: World) -> int:
    return world.stack.store.jobs.counts()["succeeded"]

"""A disk of 64 MB fills up under a training: it waits for room and ends in the same bits.

Runs itself again in a mount namespace of its own, where a small tmpfs is the data folder.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chaos.report import say
from tests.support.chaos.world import SHORT, running_world
from tests.support.system.processes import wait_until
from tests.support.worker.stack import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
INSIDE = "MOCO_TEST_SMALL_DISK"
MOUNTS = 'mount -t tmpfs -o size=64m none "$0" && exec "$@"'
ROOM_BYTES = 8 * 2**20
JOB = {
    "epochs": 100,
    "batch_rows": 16,
    "evaluation": None,
    "signals_every_steps": 1,
    "checkpoint_every_steps": 10,
}


def test_again_on_a_small_disk(tmp_path: Path) -> None:
    if INSIDE in os.environ:
        pytest.skip("this is the inner run")
    probe = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNTS, tmp_path, "true"], capture_output=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace can be made: {probe.stderr.decode().strip()}")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "chaos", "-p", "no:cacheprovider"]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNTS, tmp_path, *command, __file__],
        cwd=ROOT,
        env={**os.environ, INSIDE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.skipif(INSIDE not in os.environ, reason="runs inside of the test above")
def test_a_job_waits_for_room_and_ends_in_the_same_bits(tmp_path: Path) -> None:
    disk = Path(os.environ[INSIDE])
    assert shutil.disk_usage(disk).total == 64 * 2**20
    room = {"MOCO_DISK_FREE_BYTES_MIN": str(ROOM_BYTES)}
    with running_world(tmp_path / "data", workers=1, environment=SHORT | room) as world:
        # Redis has a volume of its own; jobs are on the small disk.
        (world.data_dir / "jobs").symlink_to(disk, target_is_directory=True)
        world.wait_warm()
        stack = world.stack
        pack = stack.add_pack("made-up", rows=80)
        golden = stack.wait_for(stack.submit(pack, **JOB), "succeeded", "failed")
        sums = stack.artifacts(golden)
        job_id = stack.submit(pack, **JOB)
        stack.wait_for_step(job_id, 50)
        filler = disk / "filler"
        with filler.open("wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - 4096))
        job = stack.wait_for(job_id, "queued")
        assert (job.code, job.failures) == ("storage", 0), job.message
        assert "full" in job.message
        wait_until(lambda: "no job is claimed" in world.slots[0].words(), 10.0, "it waits")
        attempts = job.attempt
        filler.unlink()
        job = stack.wait_for(job_id, "succeeded", "failed")
        assert stack.artifacts(job) == sums
        assert job.attempt == attempts + 1
        assert not list(disk.rglob("*.tmp"))
        say(f"full disk: attempt {attempts} ended as storage, the next one in the same bits")

"""The wall clock jumps by hours under the worker and the API: no lease and no bit depends on it."""

from pathlib import Path

import pytest

from tests.support.chaos.world import SHORT, running_world
from tests.support.system.required_tools import missing

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
JOB = {
    "epochs": 24,
    "batch_rows": 16,
    "evaluation": None,
    "signals_every_steps": 1,
    "checkpoint_every_steps": 10,
}


@pytest.mark.skipif(not LIBRARIES, reason=missing("libfaketimeMT"))
def test_the_clock_jumps_by_an_hour_and_back_by_two(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    _set(clock, "+0")
    faked = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with running_world(tmp_path / "data", workers=2, environment=SHORT | faked) as world:
        world.wait_warm()
        stack = world.stack
        pack = stack.add_pack("made-up", rows=80)
        golden = stack.wait_for(stack.submit(pack, **JOB), "succeeded", "failed")
        job_id = stack.submit(pack, **JOB)
        for step, offset in ((15, "+3600"), (50, "-3600"), (85, "+0")):
            stack.wait_for_step(job_id, step)
            _set(clock, offset)
        job = stack.wait_for(job_id, "succeeded", "failed")
        told_at_s = [row.created_at_s for row in stack.store.jobs.checkpoints(job_id)]
    # The jumps were real: times that are shown lie hours apart.
    assert max(told_at_s) - min(told_at_s) > 1800.0
    assert (job.status, job.attempt, job.losses) == ("succeeded", 1, 0), job.message
    assert stack.artifacts(job) == stack.artifacts(golden)


def _set(clock: Path, offset: str) -> None:
    draft = clock.with_suffix(".tmp")
    draft.write_text(offset + "\n")
    draft.replace(clock)

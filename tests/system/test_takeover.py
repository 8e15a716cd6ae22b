"""The promise of 20 seconds, with the lease of production: 15 ticks of one second."""

import signal
import time
from pathlib import Path

import pytest

from tests.support.worker.stack import PRODUCTION, running_stack


@pytest.mark.chaos
def test_a_killed_worker_is_replaced_within_20_s(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", **PRODUCTION) as stack:
        pack = stack.add_pack("golden", rows=80)
        stack.need_workers(2)
        job_id = stack.submit(
            pack, epochs=10_000, batch_rows=16, evaluation=None, signals_every_steps=1
        )
        stack.wait_for_step(job_id, 5)
        stack.owner(job_id).signal(signal.SIGKILL)
        killed_at_s = time.monotonic()
        stack.wait_for_step(job_id, 1, attempt=2)
        assert time.monotonic() - killed_at_s < 20.0
        stack.store.jobs.cancel(job_id)
        stack.wait_for(job_id, "cancelled")

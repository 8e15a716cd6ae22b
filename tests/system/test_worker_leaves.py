"""Workers that are told to leave or to wait. Last of the folder: each test costs a worker."""

import signal
import time

from tests.support.system.processes import alive, wait_until
from tests.support.worker.stack import Stack, family
from tests.system.conftest import Golden
from trainer.schema.events import Stepped


def test_sigterm_hands_over_without_repeating_a_step(pair: Stack, golden: Golden) -> None:
    job_id = golden.submit(pair)
    pair.wait_for_step(job_id, 15)
    owner = pair.owner(job_id)
    owner.signal(signal.SIGTERM)
    began_s = time.monotonic()
    assert owner.process.wait(10.0) == 0
    assert time.monotonic() - began_s < 5.0
    job = pair.wait_for(job_id, "succeeded", "failed")
    golden.check(pair, job)
    assert (job.attempt, job.losses) == (2, 0)
    steps = [event.step for event in pair.events(job_id) if isinstance(event, Stepped)]
    assert steps == list(range(1, golden.steps + 1))
    assert owner.pid not in [row.pid for row in pair.store.workers.list()]


def test_a_drained_worker_ends_its_job_and_waits_to_be_undrained(
    stack: Stack, golden: Golden
) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 5)
    owner = stack.owner(job_id)
    worker_id = stack.store.jobs.get(job_id).worker_id
    assert worker_id
    stack.store.workers.drain(worker_id)
    later = golden.submit(stack)
    job = stack.wait_for(job_id, "succeeded", "failed")
    assert job.attempt == 1
    wait_until(lambda: _state(stack, worker_id) == ("draining", None), 10.0, "it is idle")
    assert stack.store.jobs.get(later).status == "queued"
    assert owner.process.poll() is None
    stack.store.workers.undrain(worker_id)
    assert stack.wait_for(later, "succeeded", "failed").status == "succeeded"


def _state(stack: Stack, worker_id: str) -> tuple[str, str | None]:
    (found,) = [row for row in stack.store.workers.list() if row.id == worker_id]
    return found.state, found.job_id


def test_a_second_sigterm_leaves_at_once(stack: Stack, golden: Golden) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 5)
    owner = stack.owner(job_id)
    processes = family(owner.pid)
    owner.signal(signal.SIGTERM)
    owner.signal(signal.SIGINT)
    assert owner.process.wait(5.0) == 0
    wait_until(lambda: not any(map(alive, processes)), 2.0, "all of its processes die")
    job = stack.wait_for(job_id, "queued", timeout_s=5.0)
    assert (job.losses, job.failures) == (0, 0)

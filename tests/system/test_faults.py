"""Workers, children and the server killed or stopped in the middle of a job.

The oracle is the same job run without disturbance: every published file must be equal.
"""

import json
import os
import signal
import time

from service.store.embedded.server import start_redis
from tests.support.system.processes import alive, wait_until
from tests.support.worker.stack import Stack, changes_in, family
from tests.system.conftest import Golden
from trainer.schema.events import Started, Stepped


def starts(stack: Stack, job_id: str) -> list[int]:
    return [event.step for event in stack.events(job_id) if isinstance(event, Started)]


def test_a_killed_worker_leaves_nothing_and_another_goes_on(pair: Stack, golden: Golden) -> None:
    job_id = golden.submit(pair)
    # A checkpoint is written while the training continues: the step alone tells nothing of it.
    wait_until(lambda: pair.store.jobs.get(job_id).checkpoint_step >= 20, 60.0, "a checkpoint")
    owner = pair.owner(job_id)
    processes = family(owner.pid)
    assert len(processes) == 3
    owner.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, processes)), 2.0, "all of its processes die")
    job = pair.wait_for(job_id, "succeeded", "failed")
    golden.check(pair, job)
    assert (job.attempt, job.losses, job.failures) == (2, 1, 0)
    first, second = pair.store.jobs.attempts(job_id)
    assert (first.outcome, first.code) == ("lost", "worker_lost")
    assert second.outcome == "succeeded"
    # It went on from the checkpoint that had been told, or a later one.
    assert starts(pair, job_id)[1] >= 20
    folder = pair.data_dir / job.folder
    # The worker tidies up once the result is published.
    wait_until(lambda: len(list(folder.glob("attempts/*/checkpoints/*"))) == 1, 5.0)


def test_a_killed_child_is_tried_again_by_the_same_worker(stack: Stack, golden: Golden) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 15)
    owner = stack.owner(job_id)
    os.kill(family(owner.pid)[2], signal.SIGKILL)
    job = stack.wait_for(job_id, "succeeded", "failed")
    golden.check(stack, job)
    assert alive(owner.pid)
    first, _ = stack.store.jobs.attempts(job_id)
    assert (first.outcome, first.code) == ("released", "worker_lost")
    assert "memory" in first.message


def test_a_worker_that_wakes_after_its_lease_was_taken_changes_nothing(
    pair: Stack, golden: Golden
) -> None:
    """It sleeps until another has finished the job; then nothing but its own folder may move."""
    job_id = golden.submit(pair)
    pair.wait_for_step(job_id, 15)
    zombie = pair.owner(job_id)
    zombie.signal(signal.SIGSTOP)
    try:
        job = pair.wait_for(job_id, "succeeded", "failed")
        golden.check(pair, job)
        assert job.attempt == 2
        own = pair.data_dir / job.folder / "attempts" / "1"
        # The other worker tidies up once the end is on record.
        wait_until(lambda: len(list(own.parent.glob("2/checkpoints/*"))) == 1, 5.0, "it is tidy")
        changed = changes_in(pair.data_dir / "jobs", apart_from=own)
        events = pair.events(job_id)
    finally:
        zombie.signal(signal.SIGCONT)
    wait_until(lambda: "has expired" in zombie.words(), 5.0, zombie.words())
    wait_until(lambda: len(family(zombie.pid)) == 2, 2.0, "its child is gone")
    assert pair.store.jobs.get(job_id) == job
    assert pair.events(job_id) == events
    assert changed() == []
    assert alive(zombie.pid)  # and it takes the next job


def test_a_killed_server_loses_nothing_and_training_never_stops(
    stack: Stack, golden: Golden
) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 10)
    before = stack.store.jobs.get(job_id)
    readings = stack.data_dir / before.folder / "attempts/1/metrics.jsonl"

    def step_on_disk() -> int:
        return int(json.loads(readings.read_text().splitlines()[-1])["step"])

    os.kill(stack.redis.pid, signal.SIGKILL)
    stack.redis.stop()
    at_kill = step_on_disk()
    wait_until(lambda: step_on_disk() >= at_kill + 20, 20.0, "steps advance in the outage")
    stack.redis = start_redis(stack.data_dir)
    job = stack.wait_for(job_id, "succeeded", "failed")
    golden.check(stack, job)
    assert (job.attempt, job.losses) == (1, 0)
    steps = [event.step for event in stack.events(job_id) if isinstance(event, Stepped)]
    assert steps == list(range(1, golden.steps + 1))


def test_an_outage_longer_than_a_lease_costs_no_lease(stack: Stack, golden: Golden) -> None:
    """The server hangs for 3 s where a lease lasts 1.6 s: no ticks, so nobody is lost."""
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 5)
    os.kill(stack.redis.pid, signal.SIGSTOP)
    try:
        time.sleep(3.0)
    finally:
        os.kill(stack.redis.pid, signal.SIGCONT)
    job = stack.wait_for(job_id, "succeeded", "failed")
    golden.check(stack, job)
    assert job.attempt == 1

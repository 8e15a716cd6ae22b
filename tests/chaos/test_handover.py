"""Time that a job stands still when its worker is asked to leave, and when it is killed.

Workers have the settings of production: their forkservers compile before the first job, as those
of `moco up` do, so no child has to compile before its first step.
"""

import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.chaos.report import say
from tests.support.chaos.world import World, running_world
from tests.support.system.processes import wait_until
from tests.support.worker.stack import PRODUCTION
from trainer.schema.events import EVENT, Started, Stepped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
SIGTERMS, ROUNDS = 20, 4
FIRST_STEP_S = 120.0
"""Not measured: only waited for."""
LONG = {"epochs": 100_000, "batch_rows": 16, "evaluation": None, "signals_every_steps": 1}


def test_sigterm_hands_the_job_over_and_no_step_is_done_twice(tmp_path: Path) -> None:
    rng, took_s = random.Random(5), []
    with running_world(tmp_path / "data", workers=3, environment=PRODUCTION) as world:
        stack = world.stack
        job_id = stack.submit(stack.add_pack("made-up", rows=80), **LONG)
        follower = Follower(world, job_id)
        for attempt in range(1, SIGTERMS + 1):
            wait_until(lambda n=attempt: follower.steps_in(n), FIRST_STEP_S, "steps")  # type: ignore[misc]
            time.sleep(rng.uniform(0.0, 1.0))
            stack.owner(job_id).signal(signal.SIGTERM)
            asked_s = time.monotonic()
            wait_until(lambda n=attempt: _outcome(world, job_id, n) != "", 30.0, "released")  # type: ignore[misc]
            took_s.append(time.monotonic() - asked_s)
            assert _outcome(world, job_id, attempt) == "released"
        wait_until(lambda: follower.steps_in(SIGTERMS + 1), FIRST_STEP_S, "steps")
        stack.store.jobs.cancel(job_id)
        job = stack.wait_for(job_id, "cancelled")
        follower.steps_in(0)
        assert job.losses == job.failures == 0
    # None twice, none left out.
    assert follower.steps == list(range(1, len(follower.steps) + 1))
    assert follower.attempts == SIGTERMS + 1
    say(_words("SIGTERM to checkpointed and released", took_s) + ", 0 steps repeated")
    assert max(took_s) <= 5.0


@pytest.mark.parametrize(("workers", "kills"), [(2, 1), (3, 1), (6, 3)])
def test_jobs_of_killed_workers_step_again_within_20_s(
    tmp_path: Path, workers: int, kills: int
) -> None:
    """Kill several workers at once, while as many idle ones can take their jobs over."""
    took_s: list[float] = []
    with running_world(tmp_path / "data", workers=workers, environment=PRODUCTION) as world:
        pack = world.stack.add_pack("made-up", rows=80)
        for _ in range(ROUNDS):
            world.wait_warm()
            took_s += _killed(world, [world.stack.submit(pack, **LONG) for _ in range(kills)])
    what = f"{kills} of {workers} workers killed to stepping again, lease of 15 ticks of 1 s"
    say(_words(what, took_s))
    assert max(took_s) <= 20.0


def _killed(world: World, jobs: list[str]) -> list[float]:
    """Kill the workers of running jobs; return how long each job then took to its next step."""
    stack, took_s = world.stack, []
    followers = {job_id: Follower(world, job_id) for job_id in jobs}
    for follower in followers.values():
        wait_until(lambda f=follower: f.steps_in(1), FIRST_STEP_S, "steps")  # type: ignore[misc]
    for owner in [stack.owner(job_id) for job_id in jobs]:
        owner.process.kill()
    killed_s = time.monotonic()
    waiting = set(jobs)
    while waiting:
        assert time.monotonic() - killed_s < 90.0
        for job_id in sorted(waiting):
            if followers[job_id].steps_in(2):
                took_s.append(time.monotonic() - killed_s)
                waiting.remove(job_id)
        time.sleep(0.02)
    for job_id in jobs:
        stack.store.jobs.cancel(job_id)
        stack.wait_for(job_id, "cancelled")
    return took_s


@dataclass
class Follower:
    """Reads the events of a job as they come."""

    world: World
    job_id: str
    attempts: int = 0
    steps: list[int] = field(default_factory=list)
    _stepped: bool = False
    _behind: str = "-"

    def steps_in(self, attempt: int) -> bool:
        """Return whether that attempt has reported a step of its own."""
        found = self.world.stack.store.events.read(self.job_id, after=self._behind, limit=1000)
        for self._behind, text in found:
            if '"type":"status"' in text:
                continue
            event = EVENT.validate_json(text)
            if isinstance(event, Started):
                self.attempts, self._stepped = self.attempts + 1, False
            elif isinstance(event, Stepped):
                self._stepped = True
                self.steps.append(event.step)
        return self.attempts == attempt and self._stepped


def _outcome(world: World, job_id: str, attempt: int) -> str:
    rows = {row.attempt: row for row in world.stack.store.jobs.attempts(job_id)}
    return rows[attempt].outcome or ""


def _words(what: str, took_s: list[float]) -> str:
    p50, worst = statistics.median(took_s), max(took_s)
    return f"{what}: p50 {p50:.2f} s, largest of {len(took_s)} {worst:.2f} s"

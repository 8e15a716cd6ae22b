"""How long a job stands still when its worker is told to leave, and when it is killed."""

import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.chaos.report import say
from tests.support.chaos.world import PRODUCTION, World, running_world
from tests.support.processes import wait_until
from trainer.events import EVENT, Started, Stepped

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
SIGTERMS, KILL_ROUNDS, KILLS_A_ROUND = 20, 4, 3
LONG = {"epochs": 100_000, "batch_rows": 16, "evaluation": None, "signals_every_steps": 1}


def test_sigterm_hands_the_job_over_and_no_step_is_done_twice(tmp_path: Path) -> None:
    rng, took_s = random.Random(5), []
    with running_world(tmp_path / "data", workers=3, environment=PRODUCTION) as world:
        stack = world.stack
        job_id = stack.submit(stack.add_pack("made-up", rows=80), **LONG)
        follower = Follower(world, job_id)
        for attempt in range(1, SIGTERMS + 1):
            wait_until(lambda n=attempt: follower.steps_in(n), 90.0, "steps")  # type: ignore[misc]
            time.sleep(rng.uniform(0.0, 1.0))
            stack.owner(job_id).signal(signal.SIGTERM)
            asked_s = time.monotonic()
            wait_until(lambda n=attempt: _outcome(world, job_id, n) != "", 30.0, "released")  # type: ignore[misc]
            took_s.append(time.monotonic() - asked_s)
            assert _outcome(world, job_id, attempt) == "released"
        wait_until(lambda: follower.steps_in(SIGTERMS + 1), 90.0, "steps")
        stack.store.jobs.cancel(job_id)
        job = stack.wait_for(job_id, "cancelled")
        follower.steps_in(0)
        assert job.losses == job.failures == 0
    # None twice, none left out.
    assert follower.steps == list(range(1, len(follower.steps) + 1))
    assert follower.attempts == SIGTERMS + 1
    say(_words("SIGTERM to checkpointed and released", took_s) + ", 0 steps repeated")
    assert max(took_s) <= 5.0


def test_jobs_of_killed_workers_step_again_within_20_s(tmp_path: Path) -> None:
    took_s: list[float] = []
    with running_world(
        tmp_path / "data", workers=2 * KILLS_A_ROUND, environment=PRODUCTION
    ) as world:
        stack = world.stack
        pack = stack.add_pack("made-up", rows=80)
        for _ in range(KILL_ROUNDS):
            world.wait_warm()
            jobs = [stack.submit(pack, **LONG) for _ in range(KILLS_A_ROUND)]
            followers = {job_id: Follower(world, job_id) for job_id in jobs}
            for follower in followers.values():
                wait_until(lambda f=follower: f.steps_in(1), 30.0, "steps")  # type: ignore[misc]
            owners = [stack.owner(job_id) for job_id in jobs]
            for owner in owners:
                owner.process.kill()
            killed_s = time.monotonic()
            waiting = set(jobs)
            while waiting:
                assert time.monotonic() - killed_s < 60.0
                for job_id in sorted(waiting):
                    if followers[job_id].steps_in(2):
                        took_s.append(time.monotonic() - killed_s)
                        waiting.remove(job_id)
                time.sleep(0.02)
            for job_id in jobs:
                stack.store.jobs.cancel(job_id)
                stack.wait_for(job_id, "cancelled")
    say(_words("worker killed to stepping again, lease of 15 ticks of 1 s", took_s))
    assert max(took_s) <= 20.0


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
        """Whether that attempt has told a step of its own."""
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

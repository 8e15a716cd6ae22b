"""Redis is away for a minute, hung or dead: nobody loses a job, and training goes on."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.chaos.report import say
from tests.support.chaos.world import World, running_world
from tests.support.service.api import client_of
from tests.support.worker.stack import PRODUCTION

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
AWAY_S = 60.0
JOB = {"dataset": "anything"}


def hang(world: World) -> None:
    world.stop_redis(AWAY_S)


def die(world: World) -> None:
    world.kill_redis(AWAY_S)


@pytest.mark.parametrize("away", [hang, die], ids=["hung", "dead"])
def test_a_minute_without_redis(away: Callable[[World], None], tmp_path: Path) -> None:
    with running_world(tmp_path / "data", workers=1, environment=PRODUCTION) as world:
        world.wait_warm()
        stack = world.stack
        pack = stack.add_pack("made-up", rows=80)
        job_id = stack.submit(pack, epochs=10_000, batch_rows=16, evaluation=None)
        stack.wait_for_step(job_id, 5)
        readings = world.data_dir / stack.store.jobs.get(job_id).folder / "attempts/1/metrics.jsonl"
        before = _step(readings)
        outage = threading.Thread(target=away, args=(world,))
        outage.start()
        time.sleep(1.0)
        answers = _ask_until_over(world, outage)
        advanced = _step(readings) - before
        stack.wait_for_step(job_id, before + advanced, attempt=1)  # it is told again
        job = stack.store.jobs.get(job_id)
        assert (job.status, job.attempt, job.losses) == ("running", 1, 0)
        stack.store.jobs.cancel(job_id)
        stack.wait_for(job_id, "cancelled")
    slowest_s = max(took_s for took_s, _ in answers)
    say(f"{away.__name__}: {advanced} steps, {len(answers)} refusals, at most {slowest_s:.2f} s")
    assert advanced > 20
    assert len(answers) >= 10
    assert slowest_s <= 2.0
    for _, answer in answers:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["hint"]


def _ask_until_over(world: World, outage: threading.Thread) -> list[tuple[float, httpx.Response]]:
    """POST a job and look at the health, again and again; how each POST was answered, and when."""
    answers = []
    assert isinstance(world.api_proxy.target, int)
    with client_of(f"http://127.0.0.1:{world.api_proxy.target}") as client:
        until_s = time.monotonic() + AWAY_S - 6.0
        while outage.is_alive() and time.monotonic() < until_s:
            began_s = time.monotonic()
            answer = client.post("/v1/jobs", json=JOB)
            answers.append((time.monotonic() - began_s, answer))
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 503
            time.sleep(2.0)
        outage.join()
    return answers


def _step(readings: Path) -> int:
    return int(json.loads(readings.read_text().splitlines()[-1])["step"])

"""Redis hangs, dies and comes back: clear answers in time, and no lease is lost meanwhile."""

import contextlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from service.ids import new_id
from service.maintenance.lease_reaper import LeaseReaper
from service.store.embedded.server import RunningRedis, start_redis
from service.store.job_queue import JobQueue
from service.store.store_errors import StoreUnavailable
from tests.support.service.api import (
    KEY,
    RunningApi,
    queued_job,
    ready_dataset,
    running_api,
    running_job,
)
from tests.support.service.redis import running_redis
from tests.support.system.processes import wait_until

BUSY_S = 1.0
"""Time for a hundred requests on a machine that runs other tests meanwhile."""
OUTAGES = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningRedis]:
    """A server that may be hurt."""
    with running_redis(tmp_path / "data") as running:
        yield running


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def assert_unavailable(answer: httpx.Response, began_s: float) -> None:
    assert time.monotonic() - began_s < 2.0
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["status"]) == ("unavailable", 503)
    assert "redis" not in answer.text.lower()


def test_a_store_that_hangs(server: RunningRedis, tmp_path: Path) -> None:
    with running_api(server.url, tmp_path / "api", tick_s=0.05) as api:
        job = queued_job(api.store)
        lease = running_job(api.store)
        wait_until(lambda: api.store.queue.current_tick() > 2, 5, "the reaper ticks")
        with stopped(server.pid):
            for method, path in (
                ("GET", f"/v1/jobs/{job}"),
                ("GET", "/v1/jobs"),
                ("POST", f"/v1/jobs/{job}/cancel"),
                ("GET", "/readyz"),
            ):
                began_s = time.monotonic()
                assert_unavailable(api.client.request(method, path), began_s)
            began_s = time.monotonic()
            body = {"name": "n", "size_bytes": 3}
            assert_unavailable(api.client.post("/v1/datasets", json=body), began_s)
            began_s = time.monotonic()
            assert api.client.get("/livez").status_code == 200
            assert api.client.get("/metrics").status_code == 200
            assert time.monotonic() - began_s < 0.5
        wait_until(lambda: api.client.get("/readyz").status_code == 200, 10, "ready again")
        assert api.client.get(f"/v1/jobs/{job}").json()["status"] == "queued"
        assert api.store.queue.renew(lease) == "run", "the outage cost no lease"


def test_a_hundred_that_wait_for_a_store_that_hangs(server: RunningRedis, tmp_path: Path) -> None:
    """More than there are threads: no one waits for a thread and then for the store as well.

    A server whose requests wait for one another is slow in each outage, a busy machine in one.
    """
    with running_api(server.url, tmp_path / "api") as api:
        ready_dataset(api.store, "digits")
        outages = []
        for _ in range(OUTAGES):
            outages.append(outage_with_a_hundred(server, api))
            wait_until(lambda: api.client.get("/readyz").status_code == 200, 10, "ready again")
            if outages[-1].is_quick:
                break
        assert outages[-1].is_quick, outages


class Outage(NamedTuple):
    """Times of an outage in which a hundred requests waited for the store."""

    slowest_livez_s: float
    all_answered_s: float

    @property
    def is_quick(self) -> bool:
        return self.slowest_livez_s < 1.0 and self.all_answered_s < 2.0 + BUSY_S


def outage_with_a_hundred(server: RunningRedis, api: RunningApi) -> Outage:
    """Send a hundred submissions to a store that hangs, and ask for `/livez` meanwhile."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    request = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        'Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"dataset":"digits"}'
    )
    with contextlib.ExitStack() as closing:
        wires = [
            closing.enter_context(socket.create_connection((host, int(port)), timeout=10))
            for _ in range(100)
        ]
        with stopped(server.pid):
            began_s, slowest_s = time.monotonic(), 0.0
            for wire in wires:
                wire.sendall(request.encode())
            for _ in range(5):
                asked_s = time.monotonic()
                assert api.client.get("/livez").status_code == 200
                slowest_s = max(slowest_s, time.monotonic() - asked_s)
                time.sleep(0.1)
            answers = [wire.recv(65536) for wire in wires]
            took_s = time.monotonic() - began_s
    for words in answers:
        assert words.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: " in words
    return Outage(slowest_s, took_s)


def test_a_store_that_dies_and_comes_back(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "data")
    try:
        with running_api(server.url, tmp_path / "api", tick_s=0.05) as api:
            job = queued_job(api.store)
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not server.alive(), 5, "the server is dead")
            began_s = time.monotonic()
            assert_unavailable(api.client.get(f"/v1/jobs/{job}"), began_s)
            server.stop()
            server = start_redis(tmp_path / "data")
            if server.url == api.settings.redis_url:
                wait_until(lambda: api.client.get("/readyz").status_code == 200, 10, "ready")
                assert api.client.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    finally:
        server.stop()


def test_a_full_disk_is_not_ready(server: RunningRedis, tmp_path: Path) -> None:
    with running_api(server.url, tmp_path / "api", disk_free_bytes_min=2**62) as api:
        answer = api.client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        answer = api.client.post("/v1/datasets", json={"name": "n", "size_bytes": 2**34})
        assert answer.status_code in (201, 507)


def test_a_mistake_of_ours_shows_no_trace(
    server: RunningRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_api(server.url, tmp_path / "api") as api:

        def broken(_self: object, _id: str) -> None:
            raise KeyError("secret")

        monkeypatch.setattr(type(api.store.jobs), "get", broken)
        answer = api.client.get(f"/v1/jobs/{new_id('job')}")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_the_reaper_takes_a_lost_workers_job(server: RunningRedis, tmp_path: Path) -> None:
    with running_api(server.url, tmp_path / "api", tick_s=0.02, lease_ttl_ticks=5) as api:
        lease = running_job(api.store)
        job = lease.job_id
        wait_until(lambda: api.store.jobs.get(job).status == "queued", 10, "the lease is over")
        body = api.client.get(f"/v1/jobs/{job}").json()
        assert api.store.jobs.get(job).code == "worker_lost"
        assert body["status_reason"]["code"] == "no_worker", "that is why it waits now"


class Clock(JobQueue):
    """A clock that notes when it was read and moved, and fails when told to."""

    def __init__(self) -> None:
        object.__setattr__(self, "now", 0)
        object.__setattr__(self, "away", False)
        object.__setattr__(self, "told", [])

    def count(self, what: str) -> int:
        """Count the calls of one kind: `read`, `move` or `refused`."""
        return [one for one, _ in self.told].count(what)  # type: ignore[attr-defined]

    def current_tick(self) -> int:
        """Read."""
        self._tell("read")
        return int(self.now)  # type: ignore[attr-defined]

    def tick(self, seen: int) -> int:
        """Move."""
        self._tell("move")
        object.__setattr__(self, "now", seen + 1)
        return seen + 1

    def _tell(self, what: str) -> None:
        told = "refused" if self.away else what  # type: ignore[attr-defined]
        self.told.append((told, time.monotonic()))  # type: ignore[attr-defined]
        if told == "refused":
            raise StoreUnavailable("away")


def test_a_tick_is_never_shorter_than_told() -> None:
    """After every failure the clock is read anew, and a whole tick is waited from there."""
    clock = Clock()
    reaper = LeaseReaper(clock, tick_s=0.05)
    reaper.start()
    wait_until(lambda: clock.count("move") >= 3, 10, "the clock moves")
    object.__setattr__(clock, "away", True)
    wait_until(lambda: clock.count("refused") >= 2, 10, "the clock is missed")
    object.__setattr__(clock, "away", False)
    before = clock.count("move")
    wait_until(lambda: clock.count("move") >= before + 3, 10, "the clock moves again")
    reaper.stop()
    told = clock.told  # type: ignore[attr-defined]
    assert clock.count("read") == 2
    for (_, before_s), (what, at_s) in itertools.pairwise(told):
        if what == "move":
            assert at_s - before_s >= 0.05


def test_the_clock_goes_on_whatever_settling_raises() -> None:
    """Deletions without an answer are looked at after each answer, never while Redis is away."""
    clock, asked = Clock(), itertools.count(1)
    calls: list[int] = []

    def settle() -> None:
        calls.append(next(asked))
        assert not clock.away  # type: ignore[attr-defined]
        raise (OSError("full"), StoreUnavailable("away"))[calls[-1] % 2]

    object.__setattr__(clock, "away", False)
    reaper = LeaseReaper(clock, tick_s=0.01, on_answer=settle)
    reaper.start()
    wait_until(lambda: len(calls) >= 4, 10, "asked again")
    reaper.stop()

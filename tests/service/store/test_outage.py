"""The client of Redis when the server hangs, dies, comes back, or comes back as another."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.store.embedded.server import start_redis
from service.store.records import NewDataset
from service.store.redis_client import RedisClient
from service.store.store import Store
from service.store.store_errors import StoreError, StoreUnavailable
from tests.support.service.redis import (
    claimed,
    dump,
    leased,
    new_job,
    opened_store,
    running_redis,
    submitted,
    ticks,
    worker,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with running_redis(tmp_path) as server, opened_store(server.url) as opened:
        yield opened


def pid_of(store: Store) -> int:
    return int(store.client.run(lambda client: client.info("server"))["process_id"])


CALLS: dict[str, Callable[[Store], object]] = {
    "ping": lambda store: store.ping(),
    "submit": lambda store: store.jobs.submit(new_job(), job_id="job_9"),
    "list": lambda store: store.jobs.list(),
    "claim": lambda store: store.queue.claim(pools=("train",), worker_id="w", nonce="late"),
    "tick": lambda store: store.queue.tick(0),
    "beat": lambda store: store.workers.beat(worker()),
    "read": lambda store: store.events.read("job_9"),
}


def test_a_hung_server_is_told_within_two_seconds_and_costs_no_lease(store: Store) -> None:
    """Eight threads call at once, so that fresh connections meet the hung server as well."""
    lease, pid = leased(store), pid_of(store)
    seen = store.queue.current_tick()
    os.kill(pid, signal.SIGSTOP)
    spent_s: dict[str, float] = {}

    def call(name: str) -> None:
        start_s = time.monotonic()
        try:
            CALLS[name](store)
        except StoreUnavailable:
            spent_s[name] = time.monotonic() - start_s

    try:
        threads = [threading.Thread(target=call, args=(name,)) for name in CALLS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        again_s = time.monotonic()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.queue.tick(seen)
        again_s = (time.monotonic() - again_s) / 3
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sorted(spent_s) == sorted(CALLS)
    assert max(spent_s.values()) <= 2.0
    assert again_s <= 2.0
    assert store.queue.renew(lease) == "run"
    assert store.queue.current_tick() <= seen + 1, "all the late ticks were of one and the same"


def test_a_claim_that_hung_is_the_claimers_when_the_server_wakes(store: Store) -> None:
    """The server runs the late copies of the claim too: they all answer one lease."""
    ids, pid = [submitted(store) for _ in range(3)], pid_of(store)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.queue.claim(pools=("train",), worker_id="w", nonce="n1")
    finally:
        os.kill(pid, signal.SIGCONT)
    lease = store.queue.claim(pools=("train",), worker_id="w", nonce="n1")
    assert lease is not None
    assert lease.job_id == ids[0]
    assert store.jobs.counts()["running"] == 1


def test_events_that_hung_stand_once_in_the_stream(store: Store) -> None:
    lease, pid = leased(store), pid_of(store)
    store.queue.append(lease, ['{"type":"x","n":0}'])
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.queue.append(lease, ['{"type":"x","n":1}'])
    finally:
        os.kill(pid, signal.SIGCONT)
    store.queue.append(lease, ['{"type":"x","n":1}', '{"type":"x","n":2}'])
    texts = [text for _, text in store.events.read(lease.job_id)][2:]
    assert texts == [f'{{"type":"x","n":{n}}}' for n in range(3)]


def test_a_dead_server_is_told_and_its_return_is_noticed(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        for call in CALLS.values():
            start_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                call(store)
            assert time.monotonic() - start_s <= 2.0
        with pytest.raises(StoreUnavailable):
            store.queue.wait(("train",), 5.0)
        with running_redis(tmp_path):
            store.ping()
            assert not store.queue.wait(("train",), 0.05)
            assert submitted(store)


def test_a_kill_and_a_restart_keep_everything(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        store.datasets.create(NewDataset(dataset_id="ds_1", name="a"))
        store.workers.beat(worker())
        lease = leased(store)
        store.queue.append(lease, ['{"type":"x"}'], {"step": 1})
        store.queue.checkpoint(lease, step=1, path="p", manifest_sha256="s", size_bytes=1)
        submitted(store)
        ticks(store, 3)
        before = dump(store)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with running_redis(tmp_path) as again:
            assert again.url == server.url
            assert dump(store) == before
            assert store.queue.renew(lease) == "run"
            ticks(store, 14)
            assert store.jobs.get(lease.job_id).status == "running"


def test_nothing_acknowledged_is_lost_whenever_the_server_is_killed(tmp_path: Path) -> None:
    """Two threads submit all the while; five times the server dies at some moment."""
    acknowledged: list[str] = []
    stop = threading.Event()
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        running = server

        def submit(name: str) -> None:
            number = 0
            while not stop.is_set():
                try:
                    made = store.jobs.submit(new_job(), job_id=f"job_{name}_{number:06}")
                except StoreUnavailable:
                    continue
                acknowledged.append(made.job_id)
                number += 1

        threads = [threading.Thread(target=submit, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(5):
                time.sleep(0.1 + 0.013 * round_)
                os.kill(running.pid, signal.SIGKILL)
                running.stop()
                running = start_redis(tmp_path)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        try:
            kept = {job.id for job in store.jobs.list(limit=100_000).data}
            assert len(acknowledged) == len(set(acknowledged)) > 50
            assert set(acknowledged) <= kept
            assert store.jobs.depth("train").jobs == len(kept)
            assert store.counters.read()["submitted"] == len(kept)
        finally:
            running.stop()


@pytest.mark.parametrize("wiped", [("FUNCTION", "FLUSH"), ("FLUSHALL",)])
def test_lost_functions_are_loaded_again(store: Store, wiped: tuple[str, ...]) -> None:
    store.client.run(lambda client: client.execute_command(*wiped))  # type: ignore[no-untyped-call]
    job_id = submitted(store)
    assert claimed(store).job_id == job_id


def test_a_server_that_cannot_write_is_unavailable(store: Store) -> None:
    """Too little memory: new work is refused, and what runs can still end."""
    lease = leased(store)
    store.client.run(lambda client: client.config_set("maxmemory", 1))
    try:
        with pytest.raises(StoreUnavailable, match="memory"):
            submitted(store)
        assert store.queue.renew(lease) == "run"
        store.queue.complete(lease, artifacts=(), artifacts_folder="a")
    finally:
        store.client.run(lambda client: client.config_set("maxmemory", 0))
    assert store.jobs.get(lease.job_id).status == "succeeded"


def test_a_server_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = RedisClient(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout_s=1.5)
        start_s = time.monotonic()
        with pytest.raises(StoreError):
            client.fcall("job_get", "job_1")
        assert 1.0 < time.monotonic() - start_s <= 2.0
        client.close()

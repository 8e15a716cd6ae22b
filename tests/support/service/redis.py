"""Real servers for tests, started by the very code that starts them for users."""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from service.store.embedded.server import RunningRedis, start_redis
from service.store.records import Lease, NewJob, WorkerRecord
from service.store.store import Store, open_store
from service.store.store_settings import StoreSettings

_serial = itertools.count(1)


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[RunningRedis]:
    """A server on `folder`, ended afterwards whatever became of it."""
    server = start_redis(folder)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGCONT)
        server.stop()


@contextlib.contextmanager
def opened_store(url: str, **settings: float) -> Iterator[Store]:
    """A store on the server at `url`."""
    store = open_store(StoreSettings(redis_url=url, **settings))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        store.close()


def empty(store: Store) -> None:
    """Removes every key; the functions stay."""
    store.client.run(lambda client: client.flushall())


def fresh_id(prefix: str = "job") -> str:
    """An id that sorts behind every id before it."""
    return f"{prefix}_{next(_serial):09}"


def new_job(**changes: object) -> NewJob:
    """A training that is ready to be submitted."""
    fields: dict[str, object] = {
        "kind": "train",
        "pool": "train",
        "name": "first",
        "spec_json": '{"dataset":"digits"}',
        "resolved_json": '{"dataset":"digits","epochs":3}',
        "reasons_json": '{"epochs":"Because."}',
        "inputs": {"dataset": "datasets/ds_1/attempts/1/pack"},
        "folder": "jobs/x",
    }
    return NewJob(**(fields | changes))  # type: ignore[arg-type]


def submitted(store: Store, **changes: object) -> str:
    """The id of a job that has just been queued."""
    return store.jobs.submit(new_job(**changes), job_id=fresh_id()).job_id


def claimed(store: Store, *, pool: str = "train", worker_id: str = "w1") -> Lease:
    """The lease of the next job of `pool`."""
    lease = store.queue.claim(pools=(pool,), worker_id=worker_id, nonce=fresh_id("nonce"))
    assert lease is not None
    return lease


def leased(store: Store, **changes: object) -> Lease:
    """The lease of a new job, when nothing else waits."""
    job_id = submitted(store, **changes)
    lease = claimed(store, pool=str(changes.get("pool", "train")))
    assert lease.job_id == job_id
    return lease


def ticks(store: Store, count: int) -> int:
    """Lets `count` ticks pass at once."""
    now = store.queue.current_tick()
    for _ in range(count):
        now = store.queue.tick(now)
    return now


def worker(**changes: object) -> WorkerRecord:
    """A worker that is about to beat."""
    fields: dict[str, object] = {
        "id": "w1",
        "pools": ("train",),
        "device": "cpu",
        "host": "here",
        "pid": 42,
        "state": "idle",
        "job_id": None,
        "seen_at_s": time.time(),
        "started_at_s": 1000.25,
        "info": {"threads": 2},
    }
    return WorkerRecord(**(fields | changes))  # type: ignore[arg-type]


def dump(store: Store) -> dict[str, object]:
    """Every key with all that it holds: equal when nothing changed."""
    contents: dict[str, object] = store.client.run(_dump)
    return contents


def _dump(client: redis.Redis) -> dict[str, object]:
    keys = sorted(str(key) for key in client.keys("*"))
    pipe = client.pipeline(transaction=True)
    read: dict[str, Callable[[str], object]] = {
        "hash": pipe.hgetall,
        "list": lambda key: pipe.lrange(key, 0, -1),
        "set": pipe.smembers,
        "stream": pipe.xrange,
        "string": pipe.get,
        "zset": lambda key: pipe.zrange(key, 0, -1, withscores=True),
    }
    for key in keys:
        pipe.type(key)
    for key, kind in zip(keys, pipe.execute() if keys else (), strict=True):
        read[str(kind)](key)
    return dict(zip(keys, pipe.execute() if keys else (), strict=True))


def contents(store: Store) -> list[tuple[str, bytes]]:
    """Every key, serialized by the server itself: for `put_back`."""
    with _raw(store) as client:
        return [(key, client.dump(key)) for key in client.keys("*")]


def put_back(store: Store, entries: list[tuple[str, bytes]]) -> None:
    """Make the store hold this and nothing else, as after a crash that lost what came later."""
    with _raw(store) as client:
        client.flushall()
        for key, value in entries:
            client.restore(key, 0, value)


def _raw(store: Store) -> redis.Redis:
    """A client that leaves bytes as they are."""
    return redis.Redis.from_url(store.client.url)

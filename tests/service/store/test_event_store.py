import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from service.store.embedded.server import start_redis
from service.store.event_store import Events
from service.store.event_subscriptions import EventBroadcaster, Subscription
from service.store.keys import KEYS
from service.store.records import Lease, Status
from service.store.store import Store
from tests.support.service.redis import leased, new_job, opened_store, running_redis, submitted
from trainer.schema.base import Record


class StatusChanged(Record):
    """Event of a job that moved to another status, as the Lua functions write it."""

    type: Literal["status"] = "status"
    status: Status
    attempt: int
    """Attempts begun so far."""
    code: str = ""
    """Reason as a word: `oom`, `worker_lost`, ... Empty when there is nothing to explain."""
    message: str = ""
    hint: str = ""
    worker_id: str | None = None
    """Worker that runs it, while it runs."""


@pytest.fixture
def broadcaster(redis_store: Store) -> Iterator[EventBroadcaster]:
    made = redis_store.events.broadcaster()
    yield made
    made.stop()


def told(store: Store, lease: Lease, first: int, count: int) -> None:
    store.queue.append(lease, [json.dumps({"type": "x", "n": first + n}) for n in range(count)])


async def collected(subscription: Subscription, count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(30.0):
        return [await anext(subscription) for _ in range(count)]


def test_status_events_have_the_shape_that_is_promised(redis_store: Store) -> None:
    lease = leased(redis_store)
    redis_store.queue.fail(lease, code="oom", message='a "b"/\u202e', hint="h", retry=False)
    found = [
        StatusChanged.model_validate_json(text) for _, text in redis_store.events.read(lease.job_id)
    ]
    assert found == [
        StatusChanged(status="queued", attempt=0),
        StatusChanged(status="running", attempt=1, worker_id="w1"),
        StatusChanged(status="failed", attempt=1, code="oom", message='a "b"/\u202e', hint="h"),
    ]


def test_events_are_read_in_pages_behind_an_id(redis_store: Store) -> None:
    lease = leased(redis_store)
    told(redis_store, lease, 0, 5)
    rows = redis_store.events.read(lease.job_id)
    assert len(rows) == 7
    assert redis_store.events.read(lease.job_id, limit=3) == rows[:3]
    assert redis_store.events.read(lease.job_id, after=rows[2][0], limit=3) == rows[3:6]
    assert redis_store.events.read(lease.job_id, after=rows[6][0]) == []
    assert redis_store.events.read("job_0") == []


async def follows_exactly(store: Store, broadcaster: EventBroadcaster) -> None:
    """Fifty readers join at odd moments, from the start or from the middle of the history."""
    lease = leased(store)
    told(store, lease, 0, 40)
    history = store.events.read(lease.job_id, limit=1000)
    total = 2 + 40 + 60 * 10
    done = threading.Event()

    def tell() -> None:
        for n in range(60):
            told(store, lease, 40 + n * 10, 10)
        done.set()

    async def read(number: int) -> tuple[int, list[tuple[str, str]]]:
        await asyncio.sleep(number * 0.004)
        skipped = (number % 3) * 10
        after = history[skipped - 1][0] if skipped else "-"
        subscription = broadcaster.subscribe(lease.job_id, after=after)
        return skipped, await collected(subscription, total - skipped)

    readers = [asyncio.create_task(read(number)) for number in range(50)]
    await asyncio.to_thread(tell)
    assert done.is_set()
    everything = store.events.read(lease.job_id, limit=10_000)
    assert len(everything) == total
    for task in readers:
        skipped, rows = await task
        assert rows == everything[skipped:]


def test_fifty_readers_get_every_event_once_and_in_order(
    redis_store: Store, broadcaster: EventBroadcaster
) -> None:
    asyncio.run(follows_exactly(redis_store, broadcaster))


def test_many_jobs_are_followed_at_once_and_news_of_a_new_one_come_at_once(
    redis_store: Store, broadcaster: EventBroadcaster
) -> None:
    leases = [leased(redis_store) for _ in range(10)]

    async def follow() -> None:
        readers = [broadcaster.subscribe(lease.job_id) for lease in leases]
        for reader in readers:
            assert len(await collected(reader, 2)) == 2
        for number, (lease, reader) in enumerate(zip(leases, readers, strict=True)):
            start_s = time.monotonic()
            told(redis_store, lease, number, 1)
            [(_, text)] = await collected(reader, 1)
            assert json.loads(text)["n"] == number
            assert time.monotonic() - start_s < 0.5

    asyncio.run(follow())


def test_a_reader_of_a_job_that_is_not_there_yet_gets_its_first_event(
    redis_store: Store, broadcaster: EventBroadcaster
) -> None:
    async def follow() -> None:
        reader = broadcaster.subscribe("job_later")
        waiting = asyncio.create_task(collected(reader, 1))
        await asyncio.sleep(0.1)
        redis_store.jobs.submit(new_job(), job_id="job_later")
        [(_, text)] = await waiting
        assert json.loads(text)["status"] == "queued"

    asyncio.run(follow())


def test_a_slow_reader_misses_nothing(redis_store: Store, broadcaster: EventBroadcaster) -> None:
    """It sleeps while far more comes than is kept for it, and reads the stream itself then."""
    lease = leased(redis_store)

    async def follow() -> None:
        reader = broadcaster.subscribe(lease.job_id)
        await collected(reader, 2)
        for n in range(1000):
            redis_store.queue.append(lease, [f'{{"type":"x","n":{n}}}'])
            if n % 50 == 0:
                await asyncio.sleep(0)
        rows = await collected(reader, 1000)
        assert [json.loads(text)["n"] for _, text in rows] == list(range(1000))

    asyncio.run(follow())


def test_a_cancelled_wait_loses_nothing(redis_store: Store, broadcaster: EventBroadcaster) -> None:
    lease = leased(redis_store)

    async def follow() -> None:
        reader, seen = broadcaster.subscribe(lease.job_id), 0
        for n in range(30):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.003):
                    await anext(reader)
                    seen += 1
            told(redis_store, lease, n, 1)
        rest = await collected(reader, 32 - seen)
        assert json.loads(rest[-1][1])["n"] == 29

    asyncio.run(follow())


def test_dropping_a_reader_unsubscribes_it(
    redis_store: Store, broadcaster: EventBroadcaster
) -> None:
    lease = leased(redis_store)

    async def follow() -> None:
        reader = broadcaster.subscribe(lease.job_id)
        await collected(reader, 2)
        assert KEYS["ev"] + lease.job_id in broadcaster._cursors
        del reader
        other = broadcaster.subscribe(submitted(redis_store))
        await collected(other, 1)
        told(redis_store, lease, 0, 1)
        async with asyncio.timeout(5.0):
            while KEYS["ev"] + lease.job_id in broadcaster._cursors:
                await asyncio.sleep(0.02)

    asyncio.run(follow())


def test_stop_ends_readers_and_the_thread(redis_store: Store) -> None:
    """Its own: an API of other tests may follow events in this process."""
    before = set(threading.enumerate())
    lease = leased(redis_store)
    broadcaster = Events(redis_store.client).broadcaster()

    def new_threads() -> set[str]:
        return {thread.name for thread in set(threading.enumerate()) - before}

    async def follow() -> list[str]:
        reader = broadcaster.subscribe(lease.job_id)
        await collected(reader, 2)
        assert "event-broadcaster" in new_threads()
        stopper = threading.Thread(target=broadcaster.stop)
        asyncio.get_running_loop().call_later(0.1, stopper.start)
        async with asyncio.timeout(5.0):
            late = [text async for _, text in reader]
            return late + [text async for _, text in broadcaster.subscribe(lease.job_id)]

    assert asyncio.run(follow()) == []
    broadcaster.stop()
    assert "event-broadcaster" not in new_threads()


def test_a_broadcaster_nobody_used_stops_as_well(redis_store: Store) -> None:
    redis_store.events.broadcaster().stop()


def test_readers_survive_a_killed_server(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        lease = leased(store)
        broadcaster = store.events.broadcaster()

        async def follow() -> None:
            reader = broadcaster.subscribe(lease.job_id)
            await collected(reader, 2)
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.to_thread(server.stop)
            late = broadcaster.subscribe(lease.job_id)
            waiting = asyncio.create_task(collected(late, 3))
            await asyncio.sleep(0.6)
            again = await asyncio.to_thread(start_redis, tmp_path)
            try:
                await asyncio.to_thread(told, store, lease, 0, 1)
                assert json.loads((await collected(reader, 1))[0][1])["n"] == 0
                assert json.loads((await waiting)[-1][1])["n"] == 0
            finally:
                broadcaster.stop()
                again.stop()

        asyncio.run(follow())

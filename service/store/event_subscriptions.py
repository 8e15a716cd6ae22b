"""Subscriptions to the events of jobs: many readers share one thread and one connection.

Each reader first reads the history of its job, then the events that the thread delivers. It
subscribes before it reads the history and drops events it already has: no gap, no repeat.
"""

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import redis

from service.store.keys import KEYS
from service.store.redis_client import RedisClient
from service.store.store_errors import StoreUnavailable

Row = tuple[str, str]
"""Id in the stream, event as JSON."""

_BLOCK_S: Final = 1.0
_AGAIN_S: Final = 0.25
_PAGE_ROWS: Final = 500
_BEHIND_BATCHES: Final = 256
"""A reader that is this far behind reads the stream itself until it has caught up."""


class Read(Protocol):
    """Reads a page of a job's events."""

    def __call__(self, job_id: str, *, after: str, limit: int) -> list[Row]:
        """See `Events.read`."""
        ...


class EventBroadcaster:
    """Delivers each new event to all subscribers of its job. Survives outages of Redis."""

    def __init__(self, client: RedisClient, *, read: Read) -> None:
        """Prepare the broadcaster; its thread starts with the first subscription."""
        self._client = client
        self._read = read
        self._lock = threading.Lock()
        self._cursors: dict[str, str] = {}  # stream -> id up to which it was handed out
        self._readers: dict[str, weakref.WeakSet[Subscription]] = {}
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._generation = self._watched_generation = 0
        self._blocking = client.blocking(block_s=_BLOCK_S)
        self._client_id: int | None = None
        self._thread: threading.Thread | None = None

    def subscribe(self, job_id: str, *, after: str = "-") -> "Subscription":
        """Subscribe to the job's events after the id `after`, in order, then each new one.

        Iterate with `async for`; it ends when the broadcaster stops. Dropping it unsubscribes.
        """
        return Subscription(self, job_id, after=after, read=self._read)

    def stop(self) -> None:
        """End every subscription and the thread."""
        self._stopping.set()
        self._changed.set()
        self._unblock()
        with self._lock:
            readers = [reader for group in self._readers.values() for reader in group]
            thread = self._thread
        for reader in readers:
            reader.deliver([])
        if thread is not None:
            thread.join()
        self._blocking.close()

    @property
    def stopped(self) -> bool:
        """True once `stop` was called."""
        return self._stopping.is_set()

    def join(self, reader: "Subscription") -> None:
        """Add `reader` to the readers of its stream; from now on it gets new events.

        Raises:
            StoreUnavailable: the end of the stream cannot be read now.
        """
        stream = KEYS["ev"] + reader.job_id
        rows = self._client.run(lambda client: client.xrevrange(stream, count=1))
        with self._lock:
            self._readers.setdefault(stream, weakref.WeakSet()).add(reader)
            if stream not in self._cursors:
                self._cursors[stream] = rows[0][0] if rows else "0-0"
                self._generation += 1
            generation = self._generation
            if self._thread is None and not self.stopped:
                self._thread = threading.Thread(
                    target=self._follow, name="event-broadcaster", daemon=True
                )
                self._thread.start()
        self._changed.set()
        self._until_watched(generation)

    def _until_watched(self, generation: int) -> None:
        """Interrupt the thread's wait, so that it reads a new stream at once."""
        for _ in range(20):
            if self._watched_generation >= generation or self.stopped:
                return
            self._unblock()
            time.sleep(0.005)

    def _unblock(self) -> None:
        client_id = self._client_id
        if client_id is not None:
            try:
                self._client.run(lambda client: client.client_unblock(client_id))
            except StoreUnavailable:
                return  # then the thread's wait has ended as well

    def _follow(self) -> None:
        while not self.stopped:
            with self._lock:
                self._changed.clear()
                self._forget_unread()
                cursors = dict(self._cursors)
                self._watched_generation = self._generation
            if not cursors:
                self._changed.wait(_BLOCK_S)
                continue
            try:
                batches = self._client.run(self._xread(cursors), client=self._blocking)
            except StoreUnavailable:
                self._stopping.wait(_AGAIN_S)
                continue
            for stream, rows in batches or ():
                self._deliver(stream, [(id, fields["e"]) for id, fields in rows])

    def _xread(self, cursors: dict[str, str]) -> Callable[[redis.Redis], object]:
        def read(client: redis.Redis) -> object:
            self._client_id = client.client_id()
            if self._watched_generation != self._generation or self.stopped:
                return ()
            return client.xread(dict(cursors.items()), count=_PAGE_ROWS, block=int(_BLOCK_S * 1000))

        return read

    def _deliver(self, stream: str, rows: list[Row]) -> None:
        with self._lock:
            self._cursors[stream] = rows[-1][0]
            readers = list(self._readers.get(stream, ()))
        for reader in readers:
            reader.deliver(rows)

    def _forget_unread(self) -> None:
        for stream in [stream for stream, group in self._readers.items() if not group]:
            del self._readers[stream], self._cursors[stream]


class Subscription(AsyncIterator[Row]):
    """One reader of one job. Belongs to the event loop that iterates it.

    A cancelled `anext` loses nothing: the next one continues from the same event.
    """

    def __init__(
        self, broadcaster: EventBroadcaster, job_id: str, *, after: str, read: Read
    ) -> None:
        """Prepare the subscription; nothing is read before the first `anext`."""
        self.job_id = job_id
        self._broadcaster, self._read = broadcaster, read
        self._last = after
        self._ready: deque[Row] = deque()
        self._handed: deque[list[Row]] = deque()
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joined = False
        self._behind = True

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Row:
        if self._loop is None:
            self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        while not self._ready:
            if self._broadcaster.stopped:
                raise StopAsyncIteration
            if self._behind:
                await self._read_page()
            else:
                await self._take_handed()
        row = self._ready.popleft()
        self._last = row[0]
        return row

    def waiting(self) -> list[Row]:
        """Remove and return the rows that `anext` would give without waiting."""
        rows = list(self._ready)
        self._ready.clear()
        if rows:
            self._last = rows[-1][0]
        return rows

    def deliver(self, rows: list[Row]) -> None:
        """Deliver new rows, from any thread. An empty list only wakes the reader."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._receive, rows)
            except RuntimeError:
                return  # the loop closed in between, and its reader with it

    def _receive(self, rows: list[Row]) -> None:
        if len(self._handed) >= _BEHIND_BATCHES:
            self._handed.clear()
            self._behind = True
        self._handed.append(rows)
        if self._wake is not None:
            self._wake.set()

    async def _read_page(self) -> None:
        try:
            if not self._joined:
                await asyncio.to_thread(self._broadcaster.join, self)
                self._joined = True
            self._handed.clear()  # all of it is in the stream by now
            self._behind = False  # `_receive` may say otherwise from here on
            rows = await asyncio.to_thread(
                self._read, self.job_id, after=self._last, limit=_PAGE_ROWS
            )
        except BaseException as error:
            self._behind = True
            if not isinstance(error, StoreUnavailable):
                raise
            await asyncio.sleep(_AGAIN_S)
            return
        self._behind = self._behind or len(rows) == _PAGE_ROWS
        self._ready.extend(rows)

    async def _take_handed(self) -> None:
        assert self._wake is not None
        while not self._handed and not self._broadcaster.stopped:
            self._wake.clear()
            await self._wake.wait()
        while self._handed:
            rows = self._handed.popleft()
            self._ready.extend(row for row in rows if _order(row[0]) > _order(self._newest()))

    def _newest(self) -> str:
        return self._ready[-1][0] if self._ready else self._last


def _order(id: str) -> tuple[int, int]:
    """Return a stream id as numbers that sort."""
    if id == "-":
        return (-1, 0)
    ms, _, number = id.partition("-")
    return (int(ms), int(number or 0))

"""Light HTTP clients: one connection each, one request at a time, minimal parsing.

The machine is shared with the server that is measured, so each microsecond here is one less there.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

END_OF_HEAD = b"\r\n\r\n"
CONTENT_LENGTH = b"content-length: "


@dataclass
class RequestStats:
    """Latencies and statuses of all clients together."""

    latencies_s: list[float] = field(default_factory=list)
    """Seconds from the first byte sent to the last one received."""
    statuses: dict[int, int] = field(default_factory=dict)
    began_s: float = 0.0
    ended_s: float = 0.0

    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / max(1e-9, self.ended_s - self.began_s)

    def quantile_ms(self, share: float) -> float:
        """The wait that `share` of all requests did not exceed."""
        ordered = sorted(self.latencies_s)
        return 1000.0 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Client(asyncio.Protocol):
    """Client that sends the next request as soon as the last one is answered."""

    def __init__(self, stats: RequestStats, next_request: Callable[[], bytes | None]) -> None:
        self._tally, self._next = stats, next_request
        self._buffer = bytearray()
        self._sent_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect one answer."""
        self._buffer += data
        end = self._buffer.find(END_OF_HEAD)
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        index = head.find(CONTENT_LENGTH)
        size = int(head[index + len(CONTENT_LENGTH) :].split(b"\r\n", 1)[0]) if index >= 0 else 0
        if len(self._buffer) < end + len(END_OF_HEAD) + size:
            return
        self._tally.latencies_s.append(time.perf_counter() - self._sent_s)
        status = int(head[9:12])
        self._tally.statuses[status] = self._tally.statuses.get(status, 0) + 1
        self._buffer.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the pending requests."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("The server closed the connection."))

    def _send(self) -> None:
        request = self._next()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)


async def send_concurrently(
    port: int, clients: int, next_request: Callable[[], bytes | None]
) -> RequestStats:
    """Send what `next_request` gives over `clients` connections until it gives None."""
    loop, stats = asyncio.get_running_loop(), RequestStats()
    stats.began_s = time.perf_counter()
    connections = [
        await loop.create_connection(lambda: Client(stats, next_request), "127.0.0.1", port)
        for _ in range(clients)
    ]
    await asyncio.gather(*(client.done for _, client in connections))
    stats.ended_s = time.perf_counter()
    return stats


def repeat(request: bytes, *, count: int) -> Callable[[], bytes | None]:
    """Return a function that gives the request `count` times, then None."""
    left = count

    def next_body() -> bytes | None:
        nonlocal left
        left -= 1
        return request if left >= 0 else None

    return next_body


def for_seconds(request: bytes, *, seconds: float) -> Callable[[], bytes | None]:
    """Return a function that gives the request for `seconds`, then None."""
    end_s = time.perf_counter() + seconds
    return lambda: request if time.perf_counter() < end_s else None

"""A small TCP proxy that can be slow, deaf, mute or rude. It runs in a thread of its own."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

BLOCK_BYTES = 65_536
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset."""


class Toxic(Enum):
    """Fault that the proxy applies to the connection."""

    NONE = "none"
    LATENCY = "latency"
    """Each block waits in both directions."""
    BLACKHOLE = "blackhole"
    """Nothing comes through in either direction; connections stay open."""
    MUTE = "mute"
    """Requests come through and take effect, replies are thrown away: every reply is lost."""


@dataclass
class Proxy:
    """Forwards `127.0.0.1:port` to a unix socket or a port, as long as it lives."""

    target: Path | int
    port: int = 0
    latency_s: float = 0.1
    toxic: Toxic = Toxic.NONE
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self.port), self._loop
        ).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def reset(self) -> int:
        """Break every connection with a RST; how many there were."""
        return asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result(10)

    @contextlib.contextmanager
    def poisoned(self, toxic: Toxic) -> Iterator[None]:
        """With `toxic` for a while; afterwards every connection that suffered is reset."""
        self.toxic = toxic
        try:
            yield
        finally:
            self.toxic = Toxic.NONE
            self.reset()

    def close(self) -> None:
        """Break every connection and listen no more."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset(self) -> int:
        broken = list(self._open)
        for writer in broken:
            sock = writer.get_extra_info("socket")
            if sock.family == socket.AF_INET:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            writer.transport.abort()
        return len(broken) // 2

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(self.target)
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        with contextlib.suppress(asyncio.CancelledError):  # by `close`, which waits for nobody else
            await asyncio.gather(
                self._pump(reader, far_writer, is_reply=False),
                self._pump(far_reader, writer, is_reply=True),
            )
        self._open -= both

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while block := await source.read(BLOCK_BYTES):
                if self.toxic is Toxic.LATENCY:
                    await asyncio.sleep(self.latency_s)
                if self.toxic is Toxic.BLACKHOLE or (self.toxic is Toxic.MUTE and is_reply):
                    continue
                sink.write(block)
                await sink.drain()
        sink.close()

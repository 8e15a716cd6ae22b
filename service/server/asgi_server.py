"""Running an ASGI application, and shutting it down in order."""

import asyncio
import gc
import ipaddress
import resource
import socket
import time
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from service.server.client_timeouts import ClientTimeouts, OnSlow, charge, protocol
from service.settings import ApiSettings

GRACE_S = 10
KEEP_ALIVE_S = 75
SWEEP_S, SWEEP_S_MAX = 0.25, 0.5
FILES_EACH, FILES_BESIDES = 2, 256
"""Open files of a connection (itself and what it reads or writes), and of all the rest."""


class NotLoopback(Exception):
    """Other machines could connect, which the settings do not allow."""


class Server(uvicorn.Server):
    """Server that ends event streams before it waits for the other responses."""

    def __init__(self, config: uvicorn.Config, *, on_shutdown: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_shutdown = on_shutdown
        self._swept_s = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Charge the clients for the elapsed time, ten times a second."""
        now_s = time.monotonic()
        elapsed_s = now_s - self._swept_s
        if elapsed_s >= SWEEP_S:
            self._swept_s = now_s
            # Where this process itself stood still, no client is to blame.
            charge(self.server_state.connections, min(elapsed_s, SWEEP_S_MAX))
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End event streams, then let uvicorn wait for the remaining requests."""
        await asyncio.to_thread(self._on_shutdown)
        await super().shutdown(sockets)


def client_timeouts_of(settings: ApiSettings) -> ClientTimeouts:
    """Return the timeouts of the settings."""
    return ClientTimeouts(
        head_s=settings.head_wait_s,
        body_s=settings.body_wait_s,
        body_bytes_per_s=settings.body_bytes_per_s_min,
        answer_s=settings.answer_wait_s,
        connections=settings.connections_max,
    )


def make_server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    on_shutdown: Callable[[], None] = lambda: None,
    timeouts: ClientTimeouts | None = None,
    on_slow: OnSlow = lambda _: None,
) -> Server:
    """Return a server to start. `on_slow` is called for each client that is dropped."""
    timeouts = timeouts or ClientTimeouts()
    allow_files(FILES_EACH * timeouts.connections + FILES_BESIDES)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        http=protocol(timeouts, on_slow),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config, on_shutdown=on_shutdown)


def tune_gc() -> None:
    """Freeze the objects made at the start and collect garbage less often.

    It took a fifth of the time of a request to find nothing: what requests make holds no cycles
    but those of errors.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def allow_files(wanted: int) -> None:
    """Let this process open so many files, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def check_host(host: str, *, allow_remote: bool) -> None:
    """Raise NotLoopback if `host` can be reached from outside and that was not allowed."""
    if allow_remote or host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise NotLoopback(
            f"{host} can be reached from other machines. Set MOCO_ALLOW_REMOTE=true if that is "
            "meant, and put TLS in front: the key travels in the clear. Or use 127.0.0.1."
        )

"""Running an ASGI application until it is told to end, and ending it in order."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 10
KEEP_ALIVE_S = 75


class NotLoopback(Exception):
    """Other machines could connect, and no one said that they may."""


class Server(uvicorn.Server):
    """A server that ends its endless answers before it waits for the others."""

    def __init__(self, config: uvicorn.Config, *, on_shutdown: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_shutdown = on_shutdown

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End event streams, then let uvicorn wait for what is left."""
        await asyncio.to_thread(self._on_shutdown)
        await super().shutdown(sockets)


def make_server(
    app: ASGIApp, *, host: str, port: int, on_shutdown: Callable[[], None] = lambda: None
) -> Server:
    """A server that is not started yet."""
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
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config, on_shutdown=on_shutdown)


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

"""HEAD for every route that has GET (RFC 9110, 9.3.2)."""

import asyncio
from collections.abc import Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.server.root_path import route_path


class HeadAsGet:
    """ASGI middleware that answers HEAD with the head of the answer to GET.

    A route of its own for HEAD is left alone. An endless answer is ended when its head is sent.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        own = [route for route in routes if isinstance(route, Route)]
        self._own = [route for route in own if "HEAD" in (route.methods or ())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or self._is_own(scope):
            await self.app(scope, receive, send)
            return
        begun = asyncio.Event()

        async def receive_the_end() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if begun.is_set():
                return
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            begun.set()

        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive_the_end, send_head)
        finally:
            scope["route"] = inner.get("route")

    def _is_own(self, scope: Scope) -> bool:
        path = route_path(scope)
        return any(route.path_regex.match(path) for route in self._own)

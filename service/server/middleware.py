"""Outermost middleware: request id, timing, log line, and the answer 500."""

import re
import time
from dataclasses import dataclass, field

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_request_id
from service.observability.metrics import Instruments
from service.server.client_timeouts import TOO_SLOW
from service.server.problems import problem_of
from service.server.root_path import mount

REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")
UNMATCHED = "unmatched"
CLIENT_GONE, CLIENT_SLOW = 499, 408
"""Status in the log for a request whose sender left before the response."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
QUIET = frozenset({"/livez", "/readyz", "/metrics"})

log = structlog.get_logger("service.http")


@dataclass(slots=True)
class _Answer:
    """Status and size of a response as it is sent."""

    request_id: str
    began_s: float = field(default_factory=time.monotonic)
    status: int = 0
    wait_s: float = 0.0


class RequestMiddleware:
    """Outermost ASGI middleware. The log line has the route, never the key."""

    def __init__(self, app: ASGIApp, *, instruments: Instruments, root_path: str = "") -> None:
        self.app, self.instruments, self.root_path = app, instruments, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connection are refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mount(scope, self.root_path)
        answer = _Answer(_request_id(scope))
        scope.setdefault("state", {})["request_id"] = answer.request_id

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.wait_s = time.monotonic() - answer.began_s
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", answer.request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._guarded(scope, receive, send_marked, answer)
        finally:
            self._record(scope, answer)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, answer: _Answer) -> None:
        """Log an unexpected error and answer `internal`, without a traceback."""
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            gone = CLIENT_SLOW if TOO_SLOW in scope["state"] else CLIENT_GONE
            answer.status = answer.status or gone
        except Exception as error:
            log.exception("request_failed", request_id=answer.request_id)
            if answer.status:  # too late for another answer: break the connection
                raise
            problem = problem_of(error)
            response = problem.response(path=scope["path"], request_id=answer.request_id)
            await response(scope, receive, send)

    def _record(self, scope: Scope, answer: _Answer) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        labels = {"handler": route, "method": method}
        self.instruments.inc("moco_http_requests_total", **labels, status=str(answer.status))
        self.instruments.observe(
            "moco_http_request_duration_seconds", answer.wait_s, handler=route, method=method
        )
        write = log.debug if route in QUIET else log.info
        write(
            "request",
            request_id=answer.request_id,
            method=method,
            route=route,
            status=answer.status,
            wait_ms=round(1000.0 * answer.wait_s, 3),
            total_ms=round(1000.0 * (time.monotonic() - answer.began_s), 3),
        )


def _request_id(scope: Scope) -> str:
    """Return the sender's request id if it has a safe form, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.match(value):
            return str(value.decode("ascii"))
    return new_request_id()

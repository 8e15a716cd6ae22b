"""The door: no request passes without the key, whatever its path."""

import hashlib
import hmac
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import Problem

REALM = 'Bearer realm="mocoserve"'


class KeyGuard:
    """ASGI middleware that answers 401 unless the request carries the key.

    It stands before routing, so a path that does not exist asks for the key as well.
    """

    def __init__(self, app: ASGIApp, *, key: str, on_refusal: Callable[[], None]) -> None:
        self.app, self.on_refusal = app, on_refusal
        self._digest = _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                self.on_refusal()
                request_id = scope["state"]["request_id"]
                answer = refusal.response(path=scope["path"], request_id=request_id)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if not sent:
            return Problem(
                "unauthorized",
                "The request has no Authorization header.",
                headers={"WWW-Authenticate": REALM},
            )
        scheme, _, key = sent[0].partition(b" ")
        known = hmac.compare_digest(_digest(key.strip()), self._digest)
        if len(sent) == 1 and scheme.lower() == b"bearer" and known:
            return None
        return Problem(
            "unauthorized",
            "The Authorization header does not hold the key of this service.",
            headers={"WWW-Authenticate": REALM + ', error="invalid_token"'},
        )


def _digest(key: bytes) -> bytes:
    """Of one length for every key, so that comparing tells nothing about it."""
    return hashlib.sha256(key).digest()

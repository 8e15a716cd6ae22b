"""Authentication: no request passes without a key or a session made from one."""

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.server.api_keys import SCRAPED, Keys, Role
from service.server.problems import Problem
from service.server.root_path import route_path
from service.server.sessions import SIGN_IN, SIGN_OUT, Sessions, same_origin, sign_in_path

REALM = 'Bearer realm="mocoserve"'
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN = frozenset({SIGN_IN, SIGN_OUT})
"""Paths that ask for the key themselves."""


class AuthMiddleware:
    """ASGI middleware that answers 401 unless the request carries a key or a session.

    It runs before routing, so a path that does not exist asks for the key as well. The role of
    the sender is in `scope["state"]["role"]` afterwards.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        on_refusal: Callable[[], None],
        sessions: Sessions | None = None,
    ) -> None:
        """Check keys, and cookies if there are `sessions`."""
        self.app, self.keys, self.on_refusal, self.sessions = app, keys, on_refusal, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await self._answer(refusal, scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        """Return the problem that refuses the request, or None after noting the role."""
        headers = dict(scope["headers"])
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        safe = scope["method"] in SAFE
        path = route_path(scope)
        if self.sessions is not None and path in OPEN:
            return None if safe or same_origin(headers) else _cross_site()
        if sent:
            role, by_cookie = self.keys.role_of_headers(sent), False
        else:
            role, by_cookie = self._role_of_cookie(headers), True
        if role is None:
            return _unauthorized(sent=bool(sent))
        if by_cookie and not safe and not same_origin(headers):
            return _cross_site()
        if not _may(role, scope["method"], path):
            return _forbidden(role, scope["method"])
        if b"%2f" in scope.get("raw_path", b"").lower():  # the server has decoded it in `path`
            return Problem("not_found", "No route has this path.")
        scope["state"]["role"] = role
        return None

    def _role_of_cookie(self, headers: dict[bytes, bytes]) -> Role | None:
        cookies = headers.get(b"cookie")
        if self.sessions is None or cookies is None:
            return None
        return self.sessions.role_of(cookies.decode("latin-1"))

    def _answer(self, refusal: Problem, scope: Scope) -> Response:
        """Return the problem, or a redirect to the sign-in for a browser that wants a page."""
        headers = dict(scope["headers"])
        wants_page = scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b"")
        if self.sessions is not None and wants_page and b"authorization" not in headers:
            query = scope["query_string"].decode("latin-1")
            root_path = scope.get("root_path", "")
            where = sign_in_path(scope["path"], query, root_path=root_path)
            return RedirectResponse(where, 303, headers={"Cache-Control": "no-store"})
        self.on_refusal()
        return refusal.response(path=scope["path"], request_id=scope["state"]["request_id"])


def _may(role: Role, method: str, path: str) -> bool:
    """Return whether a key of this role opens the path for the method."""
    if role == "full":
        return True
    return method in SAFE and (role == "read" or path in SCRAPED)


def _forbidden(role: Role, method: str) -> Problem:
    if role == "scrape":
        return Problem("scrape_only", "This key allows only /metrics, /livez and /readyz.")
    return Problem("read_only", f"This key does not allow {method}.")


def _unauthorized(*, sent: bool) -> Problem:
    if not sent:
        return Problem(
            "unauthorized",
            "The request has no Authorization header and no valid session.",
            headers={"WWW-Authenticate": REALM},
        )
    return Problem(
        "unauthorized",
        "The key in the Authorization header is not valid for this service.",
        headers={"WWW-Authenticate": REALM + ', error="invalid_token"'},
    )


def _cross_site() -> Problem:
    return Problem("cross_site", "A session works only from this service's own pages.")

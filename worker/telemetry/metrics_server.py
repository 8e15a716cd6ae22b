"""HTTP server of the worker's `/metrics`, which requires a key; standard library only."""

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.observability.metrics import CONTENT_TYPE
from service.server.api_keys import Keys
from service.server.listeners import bound

TIMEOUT_S = 10.0
"""Longest time that a client may take over a request."""


class MetricsServer:
    """Server of `GET /metrics` in a thread, until closed."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        keys: Keys,
        render: Callable[[], bytes],
        listener: socket.socket | None = None,
    ) -> None:
        """Port 0 takes a free one; `listener` is used in place of both.

        Raises PortTaken.
        """
        listener = listener or bound(host, port, variable="MOCO_METRICS_PORT")
        self._server = ThreadingHTTPServer(
            (host, port), _handler(keys, render), bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = listener
        self._server.server_address = listener.getsockname()
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> "MetricsServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Handler of one request. `_handler` makes the subclass that has the keys."""

    timeout = TIMEOUT_S
    server_version, sys_version = "mocoserve", ""
    keys: Keys
    render: Callable[[], bytes]

    def do_GET(self) -> None:
        """Check the key first, so that nobody without it learns which paths exist."""
        sent = self.headers.get_all("Authorization") or []
        values = [value.encode("latin-1", "replace") for value in sent]
        if self.keys.role_of_headers(values) is None:
            self._refuse(401, "The bearer key is missing or wrong.", "unauthorized")
        elif self.path.partition("?")[0] != "/metrics":
            self._refuse(404, "There is only /metrics here.", "not_found")
        else:
            self._answer(200, CONTENT_TYPE, self.render())

    do_HEAD = do_GET

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002  # as the standard library calls it
    ) -> None:
        """Answer errors as problem+json; an unknown method is 405, not 501."""
        self.request_version = self.protocol_version  # of a line that names none, too
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(405, "There are only GET and HEAD here.", "method_not_allowed")
        else:
            self._refuse(code, message or "The request cannot be read.", "bad_request")
        self.close_connection = True

    def _refuse(self, status: int, detail: str, code: str) -> None:
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        hint = "Send `Authorization: Bearer <key>`; scrape.key of the data folder holds one."
        body = json.dumps(problem | {"code": code, "hint": hint}).encode()
        self._answer(status, "application/problem+json", body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a scrape each 15 s is no news."""


def _handler(keys: Keys, render: Callable[[], bytes]) -> type[_Handler]:
    """Return a handler class that has the keys; the server makes an instance for each request."""
    return type("Handler", (_Handler,), {"keys": keys, "render": staticmethod(render)})

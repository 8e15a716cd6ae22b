"""The worker's `/metrics`, served by the standard library and closed to whoever lacks the key."""

import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.metrics import CONTENT_TYPE

TIMEOUT_S = 10.0
"""How long a client may take over a request."""


class ScrapeServer:
    """Answers `GET /metrics` from a thread until it is closed."""

    def __init__(self, host: str, port: int, *, key: str, render: Callable[[], bytes]) -> None:
        """Port 0 takes a free one. Raises OSError if the port is taken."""
        self._server = ThreadingHTTPServer((host, port), _handler(key, render))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> "ScrapeServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(key: str, render: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    """A handler class that knows the key: the standard library makes one instance a request."""
    expected = f"Bearer {key}".encode()

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        timeout = TIMEOUT_S
        server_version, sys_version = "mocoserve", ""

        def do_GET(self) -> None:
            """The key first, so that nobody without it learns what there is."""
            given = self.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, expected):
                self._refuse(401, "The bearer key is missing or wrong.", "unauthorized")
            elif self.path.partition("?")[0] != "/metrics":
                self._refuse(404, "There is only /metrics here.", "not_found")
            else:
                self._answer(200, CONTENT_TYPE, render())

        def _refuse(self, status: int, detail: str, code: str) -> None:
            title = self.responses[status][0]
            problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
            hint = "Send `Authorization: Bearer <key>`; the key is in api.key of the data folder."
            body = json.dumps(problem | {"code": code, "hint": hint}).encode()
            self._answer(status, "application/problem+json", body)

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A scrape each 15 s is no news."""

    return Handler

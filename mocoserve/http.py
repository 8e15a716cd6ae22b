"""One HTTP connection to the API: the key, retries, and problems turned into errors."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from mocoserve.errors import ApiError, Unavailable, Unreachable, api_error

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MAY_REPEAT = frozenset({"GET", "HEAD"})


class Http:
    """HTTP client of one server. Not thread-safe."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        tries: int = 4,
    ) -> None:
        """`timeout_s` bounds each wait for bytes; `pause` and `transport` are for tests."""
        self.url, self.pause, self._tries = url.rstrip("/"), pause, tries
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}", "User-Agent": "mocoserve-client"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            transport=transport,
            # Without TLS there are no certificates to load, which takes a tenth of a second.
            verify=self.url.startswith("https:"),
            # A proxy of the environment cannot reach this machine's own loopback.
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, *, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the decoded JSON at `path`; `params` that are None are left out."""
        answer: dict[str, Any] = self.send("GET", path, params=params).json()
        return answer

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> httpx.Response:
        """Send a request, and repeat it while that is safe.

        A call that never reached the server is always repeated. One that may have is repeated
        only if `repeatable` (None: GET and HEAD are).

        Raises:
            Unreachable: no answer, after some tries.
            ApiError: the answer is a problem.
        """
        again = method in _MAY_REPEAT if repeatable is None else repeatable
        request = self._http.build_request(
            method, path, params=_given(params), json=body, headers=headers
        )
        for left in reversed(range(self._tries)):
            try:
                return self._ours(_checked(self._http.send(request)))
            except Unavailable:
                if not again or not left:
                    raise
            except httpx.TransportError as error:
                if not left or not (again or isinstance(error, _NEVER_SENT)):
                    raise Unreachable(self.url, reason=_reason(error)) from error
            self.pause(backoff_s(self._tries - 1 - left))
        raise AssertionError("the last try returns or raises")

    def _ours(self, response: httpx.Response) -> httpx.Response:
        if response.headers.get("content-type", "").startswith("text/html"):
            raise Unreachable(
                self.url,
                reason="The server at this address returned a web page, so it is not mocoserve.",
            )
        return response

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Iterator[bytes] | None = None,
        read_timeout_s: float = 60.0,
    ) -> Iterator[httpx.Response]:
        """Open a response whose body is not read yet; never repeated. Raises as `send` does."""
        timeout = httpx.Timeout(read_timeout_s, connect=5.0)
        try:
            with self._http.stream(
                method, path, headers=headers, content=content, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                yield _checked(response)
        except httpx.TransportError as error:
            raise Unreachable(self.url, reason=_reason(error)) from error


def backoff_s(failures: int, *, cap_s: float = 5.0) -> float:
    """Return the pause in seconds after `failures` (from 0): 0.1, 0.2, 0.4 ... with jitter."""
    return float(min(cap_s, 0.1 * 2.0**failures)) * random.uniform(0.7, 1.3)


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
        return response
    raise _problem_of(response)


def _problem_of(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = None
    return api_error(response.status_code, body)

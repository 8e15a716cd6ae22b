"""Upload of the bytes that the server does not have yet, for datasets and for weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mocoserve.errors import Conflict, Unavailable, Unreachable
from mocoserve.http import Http, backoff_s
from mocoserve.models import Answer
from mocoserve.sources import Source, sha256_of

OnProgress = Callable[[int, int], None]
"""Callback with the bytes received by the server and the bytes in total."""
_TRIES = 14
"""Tries for about a minute while the server is away."""
_COMPLETE = ("preparing", "ready")
"""Statuses of what has all its bytes."""
AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


@dataclass(frozen=True)
class Upload(Generic[AnyAnswer]):
    """Upload to one resource; `path` is its path, without `/content`."""

    http: Http
    path: str
    source: Source
    answer: type[AnyAnswer]
    on_progress: OnProgress = lambda _sent, _total: None
    on_break: Callable[[], None] = lambda: None

    def run(self) -> AnyAnswer:
        """Send until the server has all bytes; resume after a broken connection.

        If all bytes have arrived and only the response was lost, nothing is sent again. `on_break`
        is called when the connection breaks, before a minute of tries.

        Raises:
            Unreachable: the server was away for a minute, or took no byte in it.
            Invalid: the bytes do not match the announced size or hash.
            Conflict: there is other content.
        """
        failures, before = 0, -1
        while True:
            try:
                offset = held_bytes(self.http, self.path)
                failures = failures if offset == before else 0
                before = offset
                return self._put(offset)
            except (Unreachable, Unavailable, Conflict) as error:
                # A 409 is an offset that moved: a broken request was still being written.
                if isinstance(error, Conflict) and (there := self._complete()) is not None:
                    if there.raw().get("sha256") == sha256_of(self.source):
                        return there
                    raise
                failures += 1
                if failures >= _TRIES:
                    raise
                if failures == 1:
                    self.on_break()
                self.http.pause(backoff_s(failures))

    def _complete(self) -> AnyAnswer | None:
        """Return the resource if it has all its bytes."""
        there = self.answer.model_validate(self.http.get(self.path))
        return there if there.raw().get("status") in _COMPLETE else None

    def _put(self, offset: int) -> AnyAnswer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.source.size_bytes - offset),
            "Upload-Offset": str(offset),
        }
        content: Any = self._counted(offset)
        path = f"{self.path}/content"
        with self.http.stream("PUT", path, headers=headers, content=content) as answer:
            answer.read()
            return self.answer.model_validate(answer.json())

    def _counted(self, offset: int) -> Iterator[bytes]:
        sent = offset
        self.on_progress(sent, self.source.size_bytes)
        for chunk in self.source.read(offset):
            yield chunk
            sent += len(chunk)
            self.on_progress(sent, self.source.size_bytes)


def held_bytes(http: Http, path: str) -> int:
    """Return the number of bytes of an upload that the server has received."""
    answer = http.send("HEAD", f"{path}/content")
    return int(answer.headers.get("Upload-Offset", "0"))

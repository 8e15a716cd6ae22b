"""Sending an open file, whole or one range of it."""

import base64
import os
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.server.problems import Problem

CHUNK_BYTES = 256 * 1024
RANGE = re.compile("([0-9]*)-([0-9]*)")
FAR = 2**63


class Span(NamedTuple):
    """Bytes `start` to `end`, without `end`."""

    start: int
    end: int


def parse_range(header: str, size_bytes: int) -> Span | None:
    """Return the one range that a Range header asks for; None: send the whole (RFC 9110, 14.2).

    The header is ignored, as it may be, if it asks for several ranges, of which some are inside.
    Raises Problem `bad_range` if a range is malformed, or if none is inside the file.
    """
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in text.split(",")]
    spans = [_span(part, size_bytes) for part in parts if part]
    if not any(span.start < span.end for span in spans):
        raise _bad_range(f"The file has {size_bytes} bytes.", size_bytes)
    return spans[0] if len(spans) == 1 else None


def _span(text: str, size_bytes: int) -> Span:
    """Return the part of a file that `first-last` names; it may be empty."""
    match = RANGE.fullmatch(text)
    if match is None or not match[1] + match[2]:
        raise _bad_range("The Range header must have the form bytes=first-last.", size_bytes)
    first, last = (_number(digits) for digits in match.groups())
    if not match[1]:
        return Span(max(0, size_bytes - last), size_bytes)
    if match[2] and last < first:
        raise _bad_range("The range ends before it starts.", size_bytes)
    return Span(first, min(last + 1, size_bytes) if match[2] else size_bytes)


def _number(digits: str) -> int:
    """Return a number, or one beyond every file for more digits than any file's size has."""
    return min(int(digits[:40] or 0), FAR)


def _bad_range(detail: str, size_bytes: int) -> Problem:
    return Problem("bad_range", detail, headers={"Content-Range": f"bytes */{size_bytes}"})


def etag_of(sha256: str) -> str:
    """Return a strong validator: the same tag means the same bytes."""
    return f'"sha256-{sha256}"'


def digest_of(sha256: str) -> str:
    """Return the Repr-Digest (RFC 9530) of the whole file, also for a part of it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


class RangeFileResponse(Response):
    """Sends an open file, or one span of it, and closes it."""

    def __init__(
        self,
        file: BinaryIO,
        *,
        span: Span | None,
        headers: dict[str, str],
        media_type: str,
        on_sent: Callable[[int], None] = lambda _size_bytes: None,
    ) -> None:
        size_bytes = os.fstat(file.fileno()).st_size
        whole = Span(0, size_bytes)
        self.file, self.span, self.on_sent = file, span or whole, on_sent
        if span is not None:
            headers = {
                **headers,
                "Content-Range": f"bytes {span.start}-{span.end - 1}/{size_bytes}",
            }
        length = {"Content-Length": str(self.span.end - self.span.start)}
        super().__init__(
            status_code=206 if span is not None else 200,
            headers={**headers, **length},
            media_type=media_type,
        )

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the head, and unless HEAD was asked, the bytes."""
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_bytes(send)
        finally:
            self.file.close()

    async def _send_bytes(self, send: Send) -> None:
        offset, end = self.span
        while offset < end:
            size = min(CHUNK_BYTES, end - offset)
            chunk = await run_in_threadpool(os.pread, self.file.fileno(), size, offset)
            if not chunk:
                raise OSError(f"{end - offset} bytes of a file are missing")
            offset += len(chunk)
            self.on_sent(len(chunk))
            await send({"type": "http.response.body", "body": chunk, "more_body": offset < end})
        if self.span.start == end:
            await send({"type": "http.response.body", "body": b""})

"""Requests as bytes, for what no client library would send."""

import socket
from contextlib import suppress
from typing import NamedTuple


class Answer(NamedTuple):
    """The first answer on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(
    url: str, request: bytes, *, timeout_s: float = 20.0, half_close: bool = False
) -> Answer:
    """Send `request` as it is, and read until the server closes; it must ask for that.

    With `half_close` the server sees that no more bytes will come.

    A server that has heard enough may close while bytes are on their way, and the answer is lost.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    received = b""
    wire = socket.create_connection((host, int(port)), timeout=timeout_s)
    with wire, suppress(ConnectionError):
        wire.sendall(request)
        if half_close:
            wire.shutdown(socket.SHUT_WR)
        while block := wire.recv(65_536):
            received += block
    return parsed(received)


def parsed(answer: bytes) -> Answer:
    """Split an answer that came whole; without a status line its status is 0."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]) if first else 0, headers, body)


def request(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
    """A request head with these lines, and its body; the connection ends with the answer."""
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body

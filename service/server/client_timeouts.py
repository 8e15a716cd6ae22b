"""Deadlines for clients: uvicorn has none for anything that a client sends.

A thousand clients that drip one byte now and then cost nothing but memory, until there are
enough of them. So each connection has a credit of seconds, which time uses up and bytes renew.
Time in which the service itself does not read is not counted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.ids import new_request_id
from service.server.problems import Problem

Stage: TypeAlias = Literal["head", "body", "answer", "crowd"]
"""Stage at which a client was too slow; `crowd`: there were too many connections."""
OnSlow: TypeAlias = Callable[[Stage], None]
TOO_SLOW = "too_slow"
"""Key in the state of a request whose body came too slowly."""
HEAD_BYTES_MAX = 64 * 1024
"""Limit for a head that comes in pieces; the parser itself would gather any number."""


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Deadlines of every connection."""

    head_s: float = 10.0
    """Limit for a whole request head, from connecting or from its first byte."""
    body_s: float = 10.0
    """Credit with which a body begins."""
    body_s_max: float = 60.0
    """Most credit that a fast body gathers, which is the longest pause it may make."""
    body_bytes_per_s: float = 16.0 * 1024
    """Bytes of a body that renew one second of credit."""
    answer_s: float = 60.0
    """Limit for reading a response that fills the write buffer."""
    connections: int = 1000
    """Maximum open connections; beyond it, the connection idle for longest is closed."""


class TimeoutProtocol(HttpToolsProtocol):
    """uvicorn's connection with deadlines. Call `charge` several times a second to enforce them."""

    def __init__(self, *args: Any, timeouts: ClientTimeouts, on_slow: OnSlow, **more: Any) -> None:  # noqa: ANN401  # as uvicorn calls it
        super().__init__(*args, **more)
        self._timeouts, self._on_slow = timeouts, on_slow
        self._waiting_for: tuple[Stage | None, RequestResponseCycle | None] = (None, None)
        self._left_s = self._unread_s = 0.0
        self._got_bytes = self._head_bytes = self._framing_bytes = 0
        self._part: Literal["head", "body"] | None = None
        """Stage of the request that is being received; None between requests."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # as uvicorn has it
        """Register the connection; if there are too many, drop one that only waits."""
        super().connection_made(transport)
        if len(self.connections) > self._timeouts.connections:
            there = [
                connection
                for connection in self.connections
                if isinstance(connection, TimeoutProtocol)
            ]
            there = [connection for connection in there if not connection.transport.is_closing()]
            if len(there) > self._timeouts.connections:
                _longest_waiting(there, default=self).drop("crowd")

    def data_received(self, data: bytes) -> None:
        """Give the client time for the bytes that it sent."""
        self._got_bytes += len(data)
        self._framing_bytes += len(data)
        was_head = self._part == "head"
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if was_head else 0
        if self._part == "head" and self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The request head is too large.")
        if self._part == "body" and self._framing_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The trailer or a chunk extension is too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect the fields of the head. Trailer fields are dropped (RFC 9110, 6.5.1)."""
        if self._part != "body":
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Pass the content on."""
        self._framing_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse an unreadable request with problem+json, unless a response has begun."""
        if not self.pipeline and (self.is_idle() or not self.cycle.response_started):
            problem = Problem("bad_request", msg)
            self.transport.write(_whole(problem, path="/", request_id=new_request_id()))
        self.transport.close()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._part = "head"
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head is complete and the body follows."""
        self._part, self._framing_bytes = "body", 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._part = None
        super().on_message_complete()

    def charge(self, elapsed_s: float) -> None:
        """Charge `elapsed_s` to the client if the server waits for it."""
        if self.flow.write_paused or self.transport.is_closing():
            self._unread_s += elapsed_s
            if self._unread_s > self._timeouts.answer_s:
                self.drop("answer")
            return
        self._unread_s = 0.0
        stage = self.waits_for()
        if (stage, self.cycle) != self._waiting_for:
            self._waiting_for = (stage, self.cycle)
            self._left_s = self._timeouts.head_s if stage == "head" else self._timeouts.body_s
        elif stage == "body":
            gained_s = self._got_bytes / self._timeouts.body_bytes_per_s
            self._left_s = min(self._left_s + gained_s, self._timeouts.body_s_max)
        self._got_bytes = 0
        if stage is None or (stage == "body" and self._is_ours_to_read()):
            return
        self._left_s -= elapsed_s
        if self._left_s <= 0.0:
            self._refuse(stage)

    def waits_for(self) -> Stage | None:
        """Return `head` or `body` if the client must send it now; None while it may be idle."""
        if self.pipeline:  # what it sends ahead of its turn can wait
            return None
        if self._part == "head":
            return "head" if self.is_idle() else None
        return "head" if self.cycle is None else self._part

    def is_idle(self) -> bool:
        """Return whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def left_s(self) -> float:
        """Return the seconds left before the connection times out."""
        return self._left_s

    def drop(self, stage: Stage) -> None:
        """Break the connection; what it has not read is thrown away."""
        self._on_slow(stage)
        self.transport.abort()

    def _is_ours_to_read(self) -> bool:
        """Return whether the client waits for us: reading is paused, or it awaits 100 Continue."""
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _refuse(self, stage: Stage) -> None:
        """Answer 408 unless a response has begun, and end the connection."""
        self._on_slow(stage)
        cycle = self.cycle if stage == "body" else None
        state: dict[str, Any] = {} if cycle is None else cycle.scope["state"]
        path = "" if cycle is None else cycle.scope["path"]
        if cycle is None or not cycle.response_started:
            id = state.get("request_id") or new_request_id()
            self.transport.write(_timeout(stage, self._timeouts, path=path, request_id=id))
        state[TOO_SLOW] = True
        self.transport.close()


def protocol(timeouts: ClientTimeouts, on_slow: OnSlow) -> type[TimeoutProtocol]:
    """Return the protocol factory for uvicorn's `http`."""
    made = partial(TimeoutProtocol, timeouts=timeouts, on_slow=on_slow)
    return cast(type[TimeoutProtocol], made)


def charge(connections: Iterable[object], elapsed_s: float) -> None:
    """Charge the elapsed time to every connection."""
    for connection in list(connections):
        if isinstance(connection, TimeoutProtocol):
            connection.charge(elapsed_s)


def _longest_waiting(
    connections: Iterable[TimeoutProtocol], *, default: TimeoutProtocol
) -> TimeoutProtocol:
    """Return the connection to drop: the longest silent one, else an idle one, else `default`."""
    idle = [
        connection
        for connection in connections
        if connection is not default and connection.is_idle()
    ]
    late = [connection for connection in idle if connection.waits_for() == "head"]
    return min(late or idle, key=TimeoutProtocol.left_s, default=default)


def _timeout(stage: Stage, timeouts: ClientTimeouts, *, path: str, request_id: str) -> bytes:
    """Return a complete response 408, after which the connection ends."""
    detail = {
        "head": f"The request did not arrive within {timeouts.head_s:g} s.",
        "body": f"The body arrived at less than {timeouts.body_bytes_per_s:g} bytes a second.",
    }[stage]
    return _whole(Problem("request_timeout", detail), path=path, request_id=request_id)


def _whole(problem: Problem, *, path: str, request_id: str) -> bytes:
    """Return status line, headers and body of a response that ends the connection."""
    response = problem.response(path=path, request_id=request_id)
    phrase = HTTPStatus(response.status_code).phrase
    head = [f"HTTP/1.1 {response.status_code} {phrase}".encode(), b"connection: close"]
    head += [name + b": " + value for name, value in response.raw_headers]
    head.append(b"x-request-id: " + request_id.encode())
    return b"\r\n".join([*head, b"", bytes(response.body)])

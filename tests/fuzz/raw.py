"""Requests that no client library would send: heads and bodies with every kind of damage."""

import random
from collections.abc import Callable, Iterable, Iterator

from tests.fuzz.principals import Principal
from tests.fuzz.world import World
from tests.support.service.api import RunningApi
from tests.support.service.raw_http import exchange, request

WAIT_S = 20.0
ODD_BYTES = (
    *(b"\x00", b"\r", b"\n", b"\x1b", b"\x7f", b"\xff", b" "),
    *(b"%2f", b"%00", b"\xe2\x80\xae"),
)
ODD_LINES = (
    *("Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: 1, 2"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Content-Encoding: gzip"),
    *("Origin: http://[", "Origin: null", "Sec-Fetch-Site: cross-site", "Host: ["),
    *("Cookie: =;;=\xff", "Last-Event-ID:", "Last-Event-ID: \xff", 'If-Match: "'),
    *("If-None-Match: ,,*", "Accept: \x80;q=x", "Range: bytes=-", "Range: x"),
    *("Range: bytes=0-99999999999999999999999", "If-Range: \xff"),
    *("Upload-Offset: -1", "Upload-Offset: 1e9", "Upload-Offset: 99999999999999999999"),
    *("Idempotency-Key: \xff", "Idempotency-Key:", "X-Request-Id: " + "x" * 5000),
    *("Expect: 100-continue", "Upgrade: websocket", "Connection: upgrade", "TE: trailers"),
    *("Authorization: Bearer", "Authorization: Basic \xff", "Content-Type: application/json;\xff"),
)
ODD_BODIES = (
    *(b"", b"{", b"[" * 5000, b'{"name": "\\ud800"}', b'{"name": "\\u202e"}', b"\xff" * 64),
    *(b'{"a": 1e999}', b'{"a": 1' + b"0" * 5000 + b"}", b'{"dataset": "ready", "x": NaN}'),
    *(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"ffffffffffffffff\r\n", b"zz\r\n", b"-1\r\n\r\n"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get", "")


def raw_calls(
    api: RunningApi, world: World, everyone: list[Principal], *, count: int, seed: int
) -> int:
    """Send `count` broken requests; return how many were answered.

    Raises AssertionError for an answer of 5xx, and for a request that is neither answered nor cut.
    """
    paths = list(_paths(api.client.get("/openapi.json").json()["paths"], world))
    choice, answered = random.Random(seed), 0
    for _ in range(count):
        sent = _request(choice, paths, choice.choice(everyone))
        answer = exchange(api.url, sent, timeout_s=WAIT_S, half_close=True)
        assert answer.status < 500, (sent, answer)
        answered += answer.status > 0
    return answered


def _paths(documented: Iterable[str], world: World) -> Iterator[str]:
    """The documented paths with ids that exist, and those of the pages."""
    for path in documented:
        kind = path.split("/")[2] if path.count("/") > 1 else ""
        real = {"{id}": getattr(world, kind, ["x"])[0], "{name}": world.names[0]}
        yield "/".join(real.get(part, "x" if part[:1] == "{" else part) for part in path.split("/"))
    yield from ("/", "/sign-in", "/sign-out", "/ui/jobs", "/ui/words.json", "/docs", "/no/such")


def _request(choice: random.Random, paths: list[str], principal: Principal) -> bytes:
    """A request with one to three things wrong, or with none."""
    lines = [f"{name}: {value}" for name, value in principal.headers.items()]
    lines += choice.sample(ODD_LINES, choice.randrange(3))
    body = choice.choice(ODD_BODIES)
    if choice.random() < 0.7:
        lines.append(f"Content-Length: {len(body)}")
    if choice.random() < 0.7:
        lines.append("Content-Type: application/json")
    path = choice.choice(paths) + choice.choice(("", "", "?", "?x=1", "?after=%ff", "?limit=\xff"))
    sent = request(choice.choice(METHODS), path, *lines, body=body)
    return choice.choice(DAMAGES)(choice, sent)


def _cut(choice: random.Random, sent: bytes) -> bytes:
    return sent[: choice.randrange(1, len(sent))]


def _changed(choice: random.Random, sent: bytes) -> bytes:
    place = choice.randrange(len(sent))
    return sent[:place] + choice.choice(ODD_BYTES) + sent[place + choice.randrange(2) :]


def _long(choice: random.Random, sent: bytes) -> bytes:
    place = choice.randrange(len(sent))
    return sent[:place] + b"x" * choice.choice((100, 9000, 70_000)) + sent[place:]


def _twice(choice: random.Random, sent: bytes) -> bytes:
    return sent + sent


def _as_it_is(choice: random.Random, sent: bytes) -> bytes:
    return sent


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_as_it_is, _as_it_is, _as_it_is, _cut, _changed, _changed, _long, _twice),
)

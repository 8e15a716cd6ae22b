"""Clients that drip, stand still or never read: let go in time, while others are served."""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, get_args

import pytest

from service.observability.metric_definitions import LABEL_VALUES
from service.server.client_timeouts import Stage
from service.store.embedded.server import RunningRedis
from tests.support.service.api import KEY, RunningApi, finished_job, running_api
from tests.support.system.processes import wait_until

WAIT_S = 1.0
"""Instead of ten seconds."""
CLOSED_S = 30.0 * WAIT_S
"""With ten seconds it would be fifteen; the rest is for a busy machine."""
MANY = 300
KEY_LINE = f"Authorization: Bearer {KEY}\r\n"


@pytest.fixture(scope="module")
def api(api_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An API that is as strict as ever, but ten times as impatient."""
    with running_api(
        api_redis.url,
        tmp_path_factory.mktemp("slow"),
        head_wait_s=WAIT_S,
        body_wait_s=WAIT_S,
        answer_wait_s=WAIT_S,
    ) as running:
        yield running


def connected(api: RunningApi) -> socket.socket:
    host, _, port = api.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def status_of_next(wire: socket.socket) -> int:
    """Reads one whole answer."""
    with socket.socket.makefile(wire, "rb") as lines:
        return read_answer(lines)


def read_answer(lines: BinaryIO) -> int:
    """Its status."""
    status = int(lines.readline().split()[1])
    size = 0
    while (line := lines.readline().lower()) != b"\r\n":
        if line.startswith(b"content-length:"):
            size = int(line.split()[1])
    lines.read(size)
    return status


def slow(api: RunningApi, stage: str) -> float:
    """Return the number of clients dropped at `stage`."""
    return float(api.server_metric("moco_http_slow_clients_total", stage=stage))


def dripped(
    wires: list[socket.socket], *, every_s: float, began_s: float | None = None
) -> list[tuple[float, bytes]]:
    """Send a byte down each now and then. Return when each was closed, and what it was told.

    Times count from `began_s`, which is before the first connection where many are opened.
    """
    next_s = time.monotonic()
    began_s = next_s if began_s is None else began_s
    ends: dict[socket.socket, float] = {}
    told = {wire: b"" for wire in wires}
    with selectors.DefaultSelector() as ready:
        for wire in wires:
            wire.setblocking(False)
            ready.register(wire, selectors.EVENT_READ)
        while len(ends) < len(wires) and time.monotonic() - began_s < 4 * CLOSED_S:
            for key, _ in ready.select(0.05):
                wire = next(one for one in [key.fileobj] if isinstance(one, socket.socket))
                try:
                    got = wire.recv(65536)
                except ConnectionError:
                    got = b""
                told[wire] += got
                if not got:
                    ready.unregister(wire)
                    ends[wire] = time.monotonic() - began_s
            if time.monotonic() >= next_s:
                next_s += every_s
                for wire in wires:
                    if wire not in ends:
                        with contextlib.suppress(OSError):
                            wire.send(b"x")
    assert len(ends) == len(wires), "some are still open"
    return [(ends[wire], told[wire]) for wire in wires]


def assert_told(words: bytes) -> None:
    """A whole answer in the form of all others."""
    head, _, body = words.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 408 request timeout"
    assert b"connection: close" in lines
    assert b"content-type: application/problem+json" in lines
    assert b"content-length: " + str(len(body)).encode() in lines
    problem = json.loads(body)
    assert (problem["code"], problem["status"]) == ("request_timeout", 408)
    assert b"x-request-id: " + problem["request_id"].encode() in lines


def test_the_stages_are_labels_of_the_metric() -> None:
    assert LABEL_VALUES["stage"] == get_args(Stage)


@pytest.mark.parametrize("stage", ["head", "body", "upload"])
def test_many_that_drip_are_all_let_go(stage: str, api: RunningApi) -> None:
    """Three hundred sockets, one byte each fifth of the deadline; a healthy client meanwhile."""
    before = slow(api, "head") + slow(api, "body")
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{KEY_LINE}Content-Type: application/json\r\n"
    if stage == "upload":
        made = api.client.post("/v1/datasets", json={"name": "dripped", "size_bytes": 2**20})
        head = f"PUT /v1/datasets/{made.json()['id']}/content HTTP/1.1\r\nHost: x\r\n{KEY_LINE}"
    opening = "POST /v1" if stage == "head" else f"{head}Content-Length: 60000\r\n\r\n"
    with contextlib.ExitStack() as closing:
        began_s = time.monotonic()
        wires = [closing.enter_context(connected(api)) for _ in range(MANY)]
        for wire in wires:
            wire.sendall(opening.encode())
        ends = dripped(wires, every_s=WAIT_S / 5, began_s=began_s)
        assert api.client.get("/livez").status_code == 200
    assert max(after_s for after_s, _ in ends) <= CLOSED_S
    if stage != "upload":  # of three hundred uploads of one dataset, all but one are refused
        assert min(after_s for after_s, _ in ends) >= 0.5 * WAIT_S
        for _, words in ends:
            assert_told(words)
        # A busy server may not have read an opening yet, so that it still waits for the head.
        assert slow(api, "head") + slow(api, "body") - before == MANY


def test_what_a_slow_upload_brought_is_kept(api: RunningApi) -> None:
    made = api.client.post("/v1/datasets", json={"name": "kept", "size_bytes": 10}).json()["id"]
    before = slow(api, "body")
    with connected(api) as wire:
        wire.sendall(
            f"PUT /v1/datasets/{made}/content HTTP/1.1\r\nHost: x\r\n{KEY_LINE}"
            "Content-Length: 10\r\n\r\nhello".encode()
        )
        [(_, words)] = dripped([wire], every_s=60.0)
    assert_told(words)
    assert slow(api, "body") == before + 1

    def held() -> str:
        answer = api.client.head(f"/v1/datasets/{made}/content")
        return str(answer.headers["upload-offset"])

    wait_until(lambda: held() == "6", 5, "the dripped byte is on the disk")
    rest = api.client.put(
        f"/v1/datasets/{made}/content", content=b"5678", headers={"Upload-Offset": "6"}
    )
    assert rest.json()["status"] == "preparing"


def test_a_body_that_comes_fast_enough_may_take_long(api: RunningApi) -> None:
    """Three deadlines long, at twice the least speed."""
    size = int(3 * WAIT_S * 2 * 16 * 1024)
    made = api.client.post("/v1/datasets", json={"name": "steady", "size_bytes": size}).json()["id"]
    with connected(api) as wire:
        wire.sendall(
            f"PUT /v1/datasets/{made}/content HTTP/1.1\r\nHost: x\r\n{KEY_LINE}"
            f"Content-Length: {size}\r\n\r\n".encode()
        )
        for _ in range(30):
            wire.sendall(b"x" * (size // 30))
            time.sleep(WAIT_S / 10)
        wire.sendall(b"x" * (size % 30))
        assert status_of_next(wire) == 200


def test_a_connection_may_rest_between_requests(api: RunningApi) -> None:
    request = f"GET /livez HTTP/1.1\r\nHost: x\r\n{KEY_LINE}\r\n".encode()
    with connected(api) as wire:
        wire.sendall(request)
        assert status_of_next(wire) == 200
        time.sleep(2 * WAIT_S)
        wire.sendall(request)
        assert status_of_next(wire) == 200
        [(after_s, _)] = dripped([wire], every_s=WAIT_S / 5)
    assert after_s <= CLOSED_S, "the next head has a deadline as well"


def test_one_that_never_reads_is_let_go(api: RunningApi) -> None:
    job = finished_job(api, {"encoder.pth": bytes(64 * 2**20)})
    before = slow(api, "answer")
    with connected(api) as wire:
        path = f"/v1/jobs/{job}/artifacts/encoder.pth"
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{KEY_LINE}\r\n".encode())
        wait_until(lambda: slow(api, "answer") == before + 1, 3 * CLOSED_S, "it is let go")
        whole = 0
        with contextlib.suppress(ConnectionError):
            while got := wire.recv(2**20):
                whole += len(got)
    assert whole < 32 * 2**20
    assert api.client.get(path).status_code == 200


def test_more_than_fit_push_out_who_only_waits(api_redis: RunningRedis, tmp_path: Path) -> None:
    with running_api(api_redis.url, tmp_path, connections_max=32) as api:
        assert api.client.get("/livez").status_code == 200
        with contextlib.ExitStack() as closing:
            wires = [closing.enter_context(connected(api)) for _ in range(100)]
            assert api.client.get("/livez").status_code == 200
            wires[-1].sendall(f"GET /livez HTTP/1.1\r\nHost: x\r\n{KEY_LINE}\r\n".encode())
            assert status_of_next(wires[-1]) == 200, "the newest is let in"
            assert len(api.server.server_state.connections) <= 32
        assert slow(api, "crowd") >= 60


def test_a_head_that_does_not_end_is_refused(api: RunningApi) -> None:
    """A fast sender is cut off too: the parser would buffer all of it."""
    began_s = time.monotonic()
    with connected(api) as wire, contextlib.suppress(ConnectionError):
        wire.sendall(b"GET /livez HTTP/1.1\r\n")
        # The kernel takes some megabytes before the server has looked at the first.
        while time.monotonic() - began_s < WAIT_S:
            wire.sendall(b"x-a: " + b"b" * 1024 + b"\r\n")
        raise AssertionError(f"headers were taken for {WAIT_S} s")
    assert api.client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "words",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_too(words: bytes, api: RunningApi) -> None:
    with connected(api) as wire:
        wire.sendall(words)
        got = b""
        while part := wire.recv(65536):
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n")
    assert json.loads(body)["code"] == "bad_request"


def test_what_is_sent_ahead_of_its_turn_waits(api: RunningApi) -> None:
    """Three requests in one piece and half of a fourth: three answers in order, then the rest."""
    one = f"GET /livez HTTP/1.1\r\nHost: x\r\n{KEY_LINE}\r\n".encode()
    with connected(api) as wire, wire.makefile("rb") as lines:
        wire.sendall(one * 3 + one[:20])
        assert [read_answer(lines) for _ in range(3)] == [200, 200, 200]
        wire.sendall(one[20:])
        assert read_answer(lines) == 200

"""Uploads that break, against a scripted server and a real API."""

from pathlib import Path

import httpx
import pytest

from mocoserve.client import Client
from mocoserve.errors import (
    Conflict,
    Unreachable,
)
from mocoserve.sources import FileSource, sha256_of, source_of
from tests.support.client.scripted_client import scripted
from tests.support.service.api import RunningApi


def test_an_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(bytes(range(256)) * 16)
    held = bytearray()
    offsets: list[int] = []

    def server(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Upload-Offset": str(len(held))})
        offset, body = int(request.headers["Upload-Offset"]), request.read()
        assert int(request.headers["Content-Length"]) == len(body)
        offsets.append(offset)
        assert offset == len(held)
        if not held:
            held.extend(body[:1000])
            raise httpx.WriteError("cut", request=request)
        held.extend(body)
        return httpx.Response(200, json={"id": "ds_1", "name": "x", "status": "preparing"})

    told: list[tuple[int, int]] = []
    source = FileSource(tmp_path / "x.zip")
    client = scripted(server)
    done = client.datasets.upload("ds_1", source, on_progress=lambda a, b: told.append((a, b)))
    assert done.status == "preparing"
    assert bytes(held) == (tmp_path / "x.zip").read_bytes()
    assert offsets == [0, 1000]
    assert told[-1] == (4096, 4096)


def test_an_upload_that_never_moves_ends(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"123")
    tries = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Upload-Offset": "0"})
        tries += 1
        raise httpx.WriteError("cut", request=request)

    with pytest.raises(Unreachable):
        scripted(server).datasets.upload("ds_1", FileSource(tmp_path / "x.zip"))
    assert tries <= 14


def test_a_real_upload_is_resumed(real: Client, api: RunningApi, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK" + bytes(100_000))
    source = source_of(tmp_path / "x.zip")
    digest = sha256_of(source)
    made = real.datasets.create("resumed", size_bytes=source.size_bytes, sha256=digest)
    part = next(source.read(0))[:30_000]
    answer = api.client.put(f"/v1/datasets/{made.id}/content", content=part)
    assert answer.status_code < 300
    assert real.datasets.held_bytes(made.id) == 30_000
    sent: list[int] = []
    done = real.datasets.upload("resumed", source, on_progress=lambda a, _b: sent.append(a))
    assert done.status == "preparing"
    assert (sent[0], sent[-1], done.sha256) == (30_000, source.size_bytes, digest)
    assert real.datasets.find("resumed") == real.datasets.get(made.id)
    assert real.datasets.find("unknown") is None
    with pytest.raises(Conflict):
        real.datasets.create("resumed")


def test_a_real_upload_whose_answer_was_lost_is_done(real: Client, tmp_path: Path) -> None:
    """Sent again when the dataset is being prepared; other bytes are refused at once."""
    path, other = tmp_path / "x.zip", tmp_path / "y.zip"
    path.write_bytes(b"some bytes")
    other.write_bytes(b"and others")
    source = FileSource(path)
    made = real.datasets.create("answer-lost", size_bytes=10, sha256=sha256_of(source))
    real.datasets.upload(made.id, source)
    assert real.datasets.get(made.id).status == "preparing"
    assert real.datasets.upload(made.id, source).id == made.id
    with pytest.raises(Conflict):
        real.datasets.upload(made.id, FileSource(other))

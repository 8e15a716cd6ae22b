"""Downloads that break, are damaged or already there; scripted servers and a real API."""

import hashlib
from pathlib import Path

import httpx
import pytest

from mocoserve import artifacts
from mocoserve.client import Client
from mocoserve.errors import (
    Damaged,
)
from mocoserve.models import Artifact
from tests.support.client.scripted_client import Broken, Handler, scripted
from tests.support.service.api import RunningApi, finished_job
from trainer.schema.artifact_names import NAME


def served(content: bytes, *, breaks: int = 0, wrong: int = 0) -> tuple[Handler, list[str]]:
    """A server of one file: cuts the first `breaks` answers, garbles the first `wrong`."""
    ranges: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range", "")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body, status = content[start:], 206 if asked else 200
        if len(ranges) <= wrong:
            body = bytes(len(body))
        if len(ranges) <= breaks:
            return httpx.Response(status, stream=Broken(body[: len(body) // 2]))
        return httpx.Response(status, stream=httpx.ByteStream(body))

    return server, ranges


def artifact(content: bytes, name: str = "encoder.pth") -> Artifact:
    return Artifact(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    server, ranges = served(content, breaks=2)
    path = scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert path.read_bytes() == content
    assert ranges == ["", "bytes=12800-", "bytes=19200-"]
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.pth"]


def test_a_damaged_download_is_begun_anew_and_never_kept(tmp_path: Path) -> None:
    content = b"x" * 1000
    server, ranges = served(content, wrong=1)
    path = scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert path.read_bytes() == content
    assert ranges == ["", ""]
    path.unlink()
    server, _ = served(content, wrong=9)
    with pytest.raises(Damaged, match="twice"):
        scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "encoder.pth").write_bytes(b"abc")
    server, ranges = served(b"abc")
    scripted(server).artifacts.download("job_1", artifact(b"abc"), tmp_path)
    assert ranges == []
    with pytest.raises(Damaged):  # more bytes than were promised
        scripted(server).artifacts.download("job_1", artifact(b"", "empty.txt"), tmp_path)
    server, _ = served(b"")
    scripted(server).artifacts.download("job_1", artifact(b"", "empty.txt"), tmp_path)
    assert (tmp_path / "empty.txt").read_bytes() == b""


def test_bytes_that_another_file_has_are_copied_not_fetched(tmp_path: Path) -> None:
    """Two files, not two names: whoever writes to one must not change the other."""
    (tmp_path / "encoder.safetensors").write_bytes(b"abc")
    (tmp_path / "other").write_bytes(b"abd")
    server, ranges = served(b"abc")
    path = scripted(server).artifacts.download(
        "job_1", artifact(b"abc", "model.safetensors"), tmp_path
    )
    assert (path.read_bytes(), ranges) == (b"abc", [])
    assert not path.samefile(tmp_path / "encoder.safetensors")
    assert not list(tmp_path.glob("*.part"))


def test_a_file_gets_its_folder_and_copies_its_twin_from_above(tmp_path: Path) -> None:
    (tmp_path / "encoder.safetensors").write_bytes(b"abc")
    server, ranges = served(b"abc")
    client = scripted(server)
    for name in ("hf/model.safetensors", "hf/again.safetensors"):
        path = client.artifacts.download("job_1", artifact(b"abc", name), tmp_path)
        assert (path, path.read_bytes()) == (tmp_path / name, b"abc")
    assert ranges == []


def test_client_and_trainer_allow_the_same_names() -> None:
    assert artifacts._NAME.pattern == NAME


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b/c", "a/../b", "a//b", "", ".", "..", "a\\b"]
)
def test_a_server_cannot_name_a_place_outside_the_folder(name: str, tmp_path: Path) -> None:
    server, ranges = served(b"abc")
    with pytest.raises(Damaged):
        scripted(server).artifacts.download("job_1", artifact(b"abc", name), tmp_path / "in")
    assert ranges == []


def test_a_real_download_resumes(api: RunningApi, real: Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    job = finished_job(api, {"encoder.pth": content, "README.md": b"# card"})
    files = {file.name: file for file in real.artifacts.list(job)}
    (tmp_path / "encoder.pth.part").write_bytes(content[:500_000])
    told: list[int] = []
    for file in files.values():
        real.artifacts.download(job, file, tmp_path, on_progress=lambda _n, a, _b: told.append(a))
    assert (tmp_path / "encoder.pth").read_bytes() == content
    assert min(told[:-1]) > 500_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "encoder.pth"]

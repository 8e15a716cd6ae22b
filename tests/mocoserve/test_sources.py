"""Bytes that the client sends of a folder."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mocoserve.errors import Unusable
from mocoserve.sources import FolderSource, sha256_of, source_of


def test_a_folder_travels_as_a_tar_of_known_size(tmp_path: Path) -> None:
    long = "n" * 120 + ".png"
    files = {"b/x.png": b"1" * 700, f"a/{long}": b"2" * 512, "a/ü.png": b"", "c.txt": b"3"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    source = FolderSource(tmp_path)
    whole = b"".join(source.read(0))
    assert len(whole) == source.size_bytes
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    assert found == files
    assert source.files == len(files)
    assert [name for name in found] == sorted(found)
    for offset in (0, 1, 511, 512, 513, 1500, len(whole) - 1, len(whole)):
        assert b"".join(source.read(offset)) == whole[offset:]
    assert sha256_of(source) == hashlib.sha256(whole).hexdigest() == sha256_of(source)


def test_links_and_what_cannot_be_read_are_told_to_the_server(tmp_path: Path) -> None:
    """They are entries without bytes; with `follow_links` they are what they lead to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.png").write_bytes(b"two")
    folder = tmp_path / "set"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(b"one")
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "again.png").symlink_to("1.png")
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")

    def entries(source: FolderSource) -> dict[str, bytes | str]:
        whole = b"".join(source.read(0))
        assert len(whole) == source.size_bytes
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            return {
                m.name: archive.extractfile(m).read()  # type: ignore[union-attr]
                if m.isfile()
                else m.pax_headers["MOCO.left_out"]
                for m in archive
            }

    plain = FolderSource(folder)
    assert entries(plain) == {
        "cat/1.png": b"one", "cat/again.png": "link", "cat/up": "link", "dog": "link",
        "gone.png": "link", "pipe": "special",
    }  # fmt: skip
    assert plain.files == 1
    assert entries(FolderSource(folder, follow_links=True)) == {
        "cat/1.png": b"one", "cat/again.png": b"one", "cat/up": "loop", "dog/2.png": b"two",
        "gone.png": "broken", "pipe": "special",
    }  # fmt: skip


def test_labels_travel_with_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"1")
    (tmp_path / "set" / "labels.csv").write_bytes(b"old")
    (tmp_path / "mine.csv").write_bytes(b"a.png,cat\n")
    source = source_of(tmp_path / "set", labels=tmp_path / "mine.csv")
    with tarfile.open(fileobj=io.BytesIO(b"".join(source.read(0)))) as archive:
        assert archive.getnames() == ["a.png", "labels.csv"]
        assert archive.extractfile("labels.csv").read() == b"a.png,cat\n"  # type: ignore[union-attr]
    for path, labels in (("set", "no.csv"), ("mine.csv", "mine.csv")):
        with pytest.raises(Unusable):
            source_of(tmp_path / path, labels=tmp_path / labels)


def test_a_file_that_grows_while_it_is_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"123")
    source = FolderSource(tmp_path)
    (tmp_path / "a.png").write_bytes(b"12345")
    with pytest.raises(Unusable, match="changed while it was read"):
        list(source.read(0))


@pytest.mark.parametrize("make", [lambda _p: None, Path.mkdir, Path.touch])
def test_nothing_to_send(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(Unusable):
        source_of(tmp_path / "x")

"""Links and odd names: the same rows and lines for a folder in place and for its upload."""

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from mocoserve.sources import FolderSource
from tests.support.data.images import png, write_zip
from tests.support.data.ingest import Ingested, ingested
from trainer.data.readers.folder import Follow, open_folder
from trainer.data.readers.items import BadFile, Limits
from trainer.data.readers.regions import ELSEWHERE
from trainer.schema.errors import DataError


def uploaded(folder: Path, path: Path, *, follow_links: bool = False) -> Path:
    """Write a folder to `path` as the server receives it."""
    path.write_bytes(b"".join(FolderSource(folder, follow_links=follow_links).read(0)))
    return path


def with_odd_names(folder: Path) -> Path:
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png(number))
    for number, name in enumerate(
        [b"two\nlines.png", b"dir\\x.png", b"A:1.png", b"caf\xe9.png", b"\xfcber.png"]
    ):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(png(10 + number))
    deep = folder / ("d" * 150)
    deep.mkdir()
    (deep / f"{'n' * 145}.png").write_bytes(png(20))
    return folder


def with_links(folder: Path) -> Path:
    """Four files and eight links, a folder of a class among them."""
    elsewhere = folder.parent / "elsewhere"
    (folder / "cat").mkdir(parents=True)
    elsewhere.mkdir()
    for number in range(4):
        (folder / "cat" / f"{number}.png").write_bytes(png(number))
    for number in range(4, 12):
        (elsewhere / f"{number}.png").write_bytes(png(number))
    for number in range(4, 11):
        (folder / "cat" / f"{number}.png").symlink_to(elsewhere / f"{number}.png")
    (folder.parent / "dogs").mkdir()
    (elsewhere / "11.png").rename(folder.parent / "dogs" / "11.png")
    (folder / "dog").symlink_to(folder.parent / "dogs")
    return folder


def test_odd_names_are_a_line_each_in_place_and_uploaded(tmp_path: Path) -> None:
    folder = with_odd_names(tmp_path / "set")
    in_place = ingested(folder, tmp_path / "a")
    sent = ingested(uploaded(folder, tmp_path / "x.tar"), tmp_path / "b")
    assert in_place.facts.rows == 4
    assert len(in_place.report()) == 6
    assert sorted(map(str, in_place.report_lines())) == sorted(map(str, sent.report_lines()))
    assert in_place.facts.sha256 == sent.facts.sha256


@pytest.mark.parametrize("follow_links", [False, True])
def test_links_are_rows_on_request_and_lines_else(tmp_path: Path, follow_links: bool) -> None:
    folder = with_links(tmp_path / "set")
    in_place = ingested(folder, tmp_path / "a", follow_links=follow_links)
    tar = uploaded(folder, tmp_path / "x.tar", follow_links=follow_links)
    sent = ingested(tar, tmp_path / "b", follow_links=follow_links)
    for made in (in_place, sent):
        assert made.facts.rows == (12 if follow_links else 4)
        assert set(made.report().values()) == (set() if follow_links else {"refused"})
        assert len(made.report()) == (0 if follow_links else 8)
        assert made.facts.labels == (("cat", "dog") if follow_links else ())
    assert in_place.facts.sha256 == sent.facts.sha256
    assert sorted(map(str, in_place.report_lines())) == sorted(map(str, sent.report_lines()))


@pytest.mark.parametrize("follow_links", [False, True])
def test_loops_pipes_and_links_to_nowhere_are_lines(tmp_path: Path, follow_links: bool) -> None:
    folder = tmp_path / "set"
    (folder / "cat").mkdir(parents=True)
    for number in range(3):
        (folder / "cat" / f"{number}.png").write_bytes(png(number))
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    in_place = ingested(folder, tmp_path / "a", follow_links=follow_links)
    tar = uploaded(folder, tmp_path / "x.tar", follow_links=follow_links)
    sent = ingested(tar, tmp_path / "b", follow_links=follow_links)
    for made in (in_place, sent):
        assert made.facts.rows == 3
        assert set(made.report()) == {"cat/up", "self", "gone.png", "pipe.png"}
    assert sorted(map(str, in_place.report_lines())) == sorted(map(str, sent.report_lines()))


def test_what_the_sender_may_not_read_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in raises the permission error, because root may read everything."""
    folder = with_odd_names(tmp_path / "set")
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> Any:  # noqa: ANN401
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "access", lambda path, _mode: path.name != "3.png")
    tar = uploaded(folder, tmp_path / "x.tar")
    monkeypatch.undo()
    made = ingested(tar, tmp_path / "b")
    assert made.facts.rows == 3
    assert (made.report()["closed"], made.report()["3.png"]) == ("unreadable", "unreadable")


def test_links_never_lead_out_of_the_allowed_roots(tmp_path: Path) -> None:
    """Not when the folder is listed, and not when a link is swapped after that."""
    folder = tmp_path / "root" / "set"
    folder.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(1))
    (folder.parent / "fine.png").write_bytes(png(2))
    (folder / "fine.png").symlink_to(folder.parent / "fine.png")
    (folder / "secret.png").symlink_to(tmp_path / "secret.png")
    (folder / "all").symlink_to(tmp_path)
    (folder / "swapped.png").symlink_to(folder.parent / "fine.png")
    follow = Follow(links=True, roots=(folder.parent.resolve(),))
    with open_folder(folder, Limits(), follow) as listing:
        (folder / "swapped.png").unlink()
        (folder / "swapped.png").symlink_to(tmp_path / "secret.png")
        read, lines = {}, {}
        for entry in listing.entries():
            if isinstance(entry, BadFile):
                lines[entry.name] = entry.detail
            elif entry.name == "fine.png":
                read[entry.name] = entry.load()
            else:
                with pytest.raises(Exception, match="allowed roots"):
                    entry.load()
    assert read == {"fine.png": png(2)}
    assert lines == {"secret.png": ELSEWHERE, "all": ELSEWHERE}


@pytest.mark.parametrize("follow_links", [False, True])
@pytest.mark.parametrize("kind", ["folder", "zip", "idx"])
def test_a_source_that_was_swapped_for_a_link_is_not_read(
    tmp_path: Path, kind: str, follow_links: bool
) -> None:
    """The server looked at the path when the dataset was made; the worker comes later."""
    root, secret = tmp_path / "root", tmp_path / "secret"
    root.mkdir()
    files = {f"{n}.png": png(n) for n in range(3)}
    if kind == "folder":
        secret.mkdir()
        for name, data in files.items():
            (secret / name).write_bytes(data)
    elif kind == "zip":
        write_zip(secret, files)
    else:
        secret.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 3, 4, 4) + os.urandom(48))
    (root / "set").symlink_to(secret)

    def read(roots: Path) -> Ingested:
        out = tmp_path / "out"
        return ingested(root / "set", out, roots=(str(roots),), follow_links=follow_links)

    with pytest.raises(DataError, match="allowed roots"):
        read(root)
    assert read(tmp_path).facts.rows == 3


def test_a_pipe_in_place_of_the_source_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="device, a pipe or a socket"):
        ingested(tmp_path / "pipe", tmp_path / "out")


def test_a_folder_inside_that_was_swapped_for_a_link_is_not_read(tmp_path: Path) -> None:
    """Swap the folder during the walk: the location of every opened file is checked."""
    folder, secret = tmp_path / "root" / "set", tmp_path / "secret"
    (folder / "cat").mkdir(parents=True)
    secret.mkdir()
    (folder / "cat" / "1.png").write_bytes(png(1))
    (secret / "1.png").write_bytes(png(2))
    with open_folder(folder, Limits(), Follow(roots=(folder.parent,))) as listing:
        (folder / "cat").rename(tmp_path / "old")
        (folder / "cat").symlink_to(secret)
        (entry,) = listing.entries()
        assert not isinstance(entry, BadFile)
        with pytest.raises(Exception, match="allowed roots"):
            entry.load()

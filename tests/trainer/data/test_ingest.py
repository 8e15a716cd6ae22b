"""Ingest of every kind of source, with bad files among the good."""

import errno
import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.support.data.images import encoded, picture, png, png_of_size
from tests.support.data.ingest import ingested
from tests.support.data.labelled_archives import CARRIERS, as_folder, as_zip
from trainer.data.ingest import IngestStopped, run_ingest
from trainer.data.pack.rows_writer import HashedFile
from trainer.data.readers import folder
from trainer.data.readers.items import REASONS, Entry, Limits
from trainer.data.readers.regions import ELSEWHERE
from trainer.data.rows import BadRow
from trainer.data.spec import IngestSpec
from trainer.modalities.image.ingest import INGEST
from trainer.modalities.image.packed import image_of
from trainer.schema.errors import DataError, DatasetMissing, StorageError
from trainer.schema.events import Event, Ingesting, Published

FILES = {
    "cat/1.png": png(1),
    "cat/2.jpg": encoded(picture(2), "JPEG"),
    "dog/1.bmp": encoded(picture(3), "BMP"),
    "dog/2.webp": encoded(picture(4), "WEBP"),
}
BAD = {
    "cat/empty.png": (b"", "empty"),
    "cat/cut.jpg": (encoded(picture(5, height=64, width=64), "JPEG")[:300], "truncated"),
    "cat/text.jpg": (b"this is a text", "wrong_type"),
    "cat/notes.txt": (b"notes", "wrong_type"),
    "labels.json": (b"{}", "wrong_type"),
    "cat/inner.zip": (b"PK\3\4", "unreadable"),
    "dog/broken.png": (b"II*\0" + b"nonsense" * 9, "unreadable"),
    "dog/copy.png": (encoded(picture(1), "PNG", compress_level=0), "duplicate"),
    "dog/huge.png": (png_of_size(10_001), "oversize"),
}
HIDDEN = {".DS_Store": b"x", "__MACOSX/cat/._1.png": b"x", "cat/.hidden.png": b"x"}


def everything() -> dict[str, bytes]:
    return FILES | {name: data for name, (data, _) in BAD.items()} | HIDDEN


@pytest.mark.parametrize("packer", CARRIERS)
def test_good_files_become_rows_and_bad_ones_lines_of_the_report(
    tmp_path: Path, packer: str
) -> None:
    made = ingested(CARRIERS[packer](tmp_path, everything()), tmp_path / "out")
    assert made.names() == sorted(FILES)
    assert made.label_names() == ["cat", "cat", "dog", "dog"]
    assert made.report() == {name: reason for name, (_, reason) in BAD.items()}
    assert {line["reason"] for line in made.report_lines()} <= set(REASONS)
    assert all(line["detail"] for line in made.report_lines())
    assert (made.facts.rows, made.facts.bad_files, made.facts.duplicates) == (4, len(BAD) - 1, 1)
    for row, name in enumerate(made.names()):
        expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB"))
        assert np.array_equal(image_of(made.pack, row), expected)


def test_one_set_of_files_is_one_pack_whatever_carries_it(tmp_path: Path) -> None:
    hashes = set()
    for name, packer in CARRIERS.items():
        (tmp_path / name).mkdir()
        source = packer(tmp_path / name, everything())
        hashes |= {ingested(source, tmp_path / name / str(n)).facts.sha256 for n in range(2)}
    assert len(hashes) == 1


def test_facts_are_those_of_the_pixels(tmp_path: Path) -> None:
    sizes = [(10, 20), (12, 12), (30, 14), (40, 9)]
    images = [picture(n, height=h, width=w) for n, (h, w) in enumerate(sizes)]
    files = {f"{n}.png": encoded(image) for n, image in enumerate(images)}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in images]) / 255.0
    assert made.facts.mean == pytest.approx(pixels.mean(axis=0), rel=1e-9)
    assert made.facts.std == pytest.approx(pixels.std(axis=0), rel=1e-9)
    sides = (made.facts.side_px_min, made.facts.side_px_median, made.facts.side_px_max)
    assert sides == (9, 12, 40)
    assert not made.facts.same_size
    assert made.facts.labels == ()
    assert made.pack.labels.tolist() == [-1] * 4


def test_files_are_published_with_their_hashes(tmp_path: Path) -> None:
    made = ingested(as_zip(tmp_path, FILES), tmp_path / "out")
    published = made.events[-1]
    assert isinstance(published, Published)
    assert published.folder == "pack"
    for record in published.files:
        data = (tmp_path / "out" / "pack" / record.name).read_bytes()
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert record.size_bytes == len(data)
    names = {record.name for record in published.files}
    assert names == {
        "index.bin", "names.txt", "pack.json", "pixels.u8", "preview.png", "preview-unlike.png",
        "report.jsonl", "values.u64",
    }  # fmt: skip
    meta = json.loads((tmp_path / "out" / "pack" / "pack.json").read_text())
    assert meta["facts"]["sha256"] == made.facts.sha256
    assert (tmp_path / "out" / "pack" / "index.bin").stat().st_size == 24 * made.facts.rows
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pack"]


def test_progress_is_told_at_most_twice_a_second_and_at_the_end(tmp_path: Path) -> None:
    files = {f"{n:04d}.png": png(n) for n in range(400)}
    started_s = time.monotonic()
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    told = [event for event in made.events if isinstance(event, Ingesting)]
    assert len(told) <= 2 * (time.monotonic() - started_s) + 1
    assert told[-1].rows_ok == 400
    assert told[-1].bytes_done == told[-1].bytes_total == sum(map(len, files.values()))


def test_the_preview_shows_eight_rows_and_two_views(tmp_path: Path) -> None:
    files = {f"{n:04d}.png": png(n, height=20, width=20) for n in range(40)}
    first = ingested(as_zip(tmp_path, files), tmp_path / "1").pack.folder / "preview.png"
    again = ingested(as_zip(tmp_path, files), tmp_path / "2").pack.folder / "preview.png"
    assert first.read_bytes() == again.read_bytes()
    with Image.open(first) as image:
        width, height = image.size
        assert height / width == pytest.approx(8 / 3, abs=0.05)


def test_the_other_preview_blurs_all_first_views_as_byol_does(tmp_path: Path) -> None:
    """The mean step between neighboring pixels falls; rows themselves are the same."""
    files = {f"{n:04d}.png": png(n, height=112, width=112) for n in range(8)}
    folder = ingested(as_zip(tmp_path, files), tmp_path / "1").pack.folder
    steps = []
    for name in ("preview.png", "preview-unlike.png"):
        with Image.open(folder / name) as image:
            columns = np.array_split(np.asarray(image, np.float64)[..., 0], 3, axis=1)
        steps.append([np.abs(np.diff(column, axis=0)).mean() for column in columns])
    (row, first, _), (same_row, blurred, _) = steps
    assert row == same_row
    assert blurred < 0.8 * first


@pytest.mark.parametrize("files", [{}, {"a.txt": b"x"}, {"a.png": png(1)}, {"a.png": b""}])
@pytest.mark.parametrize("packer", ["folder", "zip", "tar"])
def test_fewer_than_two_images_are_no_dataset(
    tmp_path: Path, packer: str, files: dict[str, bytes]
) -> None:
    (tmp_path / "set").mkdir()
    source = CARRIERS[packer](tmp_path, files)
    with pytest.raises(DataError, match=r"no image|only one image") as caught:
        ingested(source, tmp_path / "out")
    assert "at least two" in caught.value.next_step
    left = {path.name for path in (tmp_path / "out").iterdir()}
    is_told = files in ({"a.txt": b"x"}, {"a.png": b""})
    assert left == ({"report.jsonl"} if is_told else set())


def test_sources_that_are_not_there_or_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing):
        ingested(tmp_path / "nowhere", tmp_path / "out")
    for number, data in enumerate([b"", b"hello", gzip.compress(b"hello" * 200), png(1)]):
        (tmp_path / f"{number}").write_bytes(data)
        with pytest.raises(DataError, match=r"Unrecognized format|not a dataset"):
            ingested(tmp_path / f"{number}", tmp_path / "out")


def test_an_announced_format_must_be_right(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was declared as tar, but its content is zip"):
        ingested(as_zip(tmp_path, FILES), tmp_path / "out", kind="tar")
    assert ingested(as_zip(tmp_path, FILES), tmp_path / "out", kind="zip").facts.rows == 4


def test_links_and_pipes_in_a_folder_are_reported_and_not_followed(tmp_path: Path) -> None:
    source = as_folder(tmp_path, FILES)
    secret = as_folder(tmp_path / "elsewhere", {"a.png": png(9)})
    (source / "link.png").symlink_to(secret / "a.png")
    (source / "linked").symlink_to(secret)
    os.mkfifo(source / "pipe.png")
    (source / "new\nline.png").write_bytes(png(8))
    made = ingested(source, tmp_path / "out")
    assert made.names() == sorted(FILES)
    assert set(made.report().values()) == {"refused"}
    assert len(made.report()) == 4


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    source = as_zip(tmp_path, {f"{n}.png": png(n) for n in range(300)})
    calls = iter([False, True])
    with pytest.raises(IngestStopped):
        ingested(source, tmp_path / "out", should_stop=lambda: next(calls))
    assert not list((tmp_path / "out").iterdir())
    events: list[Event] = []
    spec = IngestSpec(dataset_id="ds", source=str(source))
    ended = run_ingest(
        spec,
        modality=INGEST,
        out=tmp_path / "out",
        emit=events.append,
        should_stop=lambda: True,
    )
    assert (ended.outcome, ended.code) == ("stopped", "stopped")
    ended = run_ingest(
        spec,
        modality=INGEST,
        out=tmp_path / "out",
        emit=events.append,
        should_stop=lambda: False,
    )
    assert ended.outcome == "succeeded"
    assert ended.facts is not None


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = as_zip(tmp_path, FILES)
    monkeypatch.setattr(HashedFile, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        ingested(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_pack_that_is_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    first = ingested(as_zip(tmp_path, FILES), tmp_path / "out")
    with pytest.raises(DataError):
        ingested(as_zip(tmp_path, {"a.png": png(1)}), tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "pack" / "pack.json").read_text())
    assert meta["facts"]["sha256"] == first.facts.sha256
    more = ingested(as_zip(tmp_path, FILES | {"x.png": png(77)}), tmp_path / "out")
    assert more.facts.rows == 5


def test_hostile_archives_leave_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.png", png(1))
        archive.writestr("../evil.png", png(2))
    with pytest.raises(DataError, match=r"'\.\./evil\.png'"):
        ingested(tmp_path / "x.zip", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "evil.png").exists()


def test_large_entries_are_reported_unread(tmp_path: Path) -> None:
    files = {"a.png": png(1), "b.png": png(2), "c.png": os.urandom(9000)}
    for packer in ("folder", "zip", "tar"):
        source = CARRIERS[packer](tmp_path, files)
        made = ingested(source, tmp_path / packer, file_bytes_max=5000)
        assert made.report() == {"c.png": "oversize"}


def test_refusing_an_archive_needs_no_torch() -> None:
    code = "import sys, trainer.modalities.image.ingest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What a failure leaves, and what cannot stop an ingest


def test_a_failed_ingest_keeps_its_report_and_names_the_first_cause(tmp_path: Path) -> None:
    files = {"a.bin": b"%PDF-1.7 and so on", "b.txt": b"notes", "c.png": png(1)}
    source = as_folder(tmp_path, files)
    with pytest.raises(DataError) as caught:
        ingested(source, tmp_path / "out")
    assert "2 wrong_type" in caught.value.detail
    assert "a.bin: the content is a PDF" in caught.value.detail
    lines = (tmp_path / "out" / "report.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a.bin", "b.txt"]
    assert "b'" not in "".join(lines)


@pytest.mark.parametrize("content", [b"\xde\xad\xbe\xef" * 200, b"%PDF-1.7", b"text", b""])
def test_what_is_no_dataset_is_named_without_its_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError) as caught:
        ingested(tmp_path / "x.zip", tmp_path / "out")
    assert "b'" not in caught.value.detail
    assert "Unrecognized format of x.zip: " in caught.value.detail


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_ends_the_ingest_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(kind)
    else:
        path = Path("/dev/zero")
    with pytest.raises(DataError, match="a device, a pipe or a socket"):
        ingested(path, tmp_path / "out")


@pytest.mark.parametrize("packer", CARRIERS)
def test_an_ingest_takes_no_longer_than_it_may(
    tmp_path: Path, packer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock advances at each read: entries without bytes cost time as well."""
    source = CARRIERS[packer](tmp_path, {f"{n}.png": png(n) if n < 2 else b"" for n in range(99)})
    seconds = iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("trainer.data.readers.items.time", clock)
    with pytest.raises(DataError, match="seconds_max, 2 s"):
        ingested(source, tmp_path / "out", seconds_max=2)
    assert ingested(source, tmp_path / "all", seconds_max=10**5).facts.rows == 2


# Allowed roots, as the worker enforces them


def allowed(tmp_path: Path) -> Path:
    root = tmp_path / "allowed"
    root.mkdir()
    as_folder(root, {"a.png": png(1), "b.png": png(2), "deep/c.png": png(3)})
    as_folder(tmp_path, {"secret.png": png(4), "other.png": png(5)})
    return root


@pytest.mark.parametrize("swapped", ["set", "set.zip", "set.tar"])
def test_a_link_that_took_the_place_of_the_source_is_not_followed_out(
    tmp_path: Path, swapped: str
) -> None:
    root = allowed(tmp_path)
    outside = tmp_path / "set"
    if swapped != "set":
        outside = CARRIERS[swapped.partition(".")[2]](tmp_path, {"a.png": png(1), "b.png": png(2)})
    (root / "swapped").symlink_to(outside)
    with pytest.raises(DataError, match="out of the allowed roots") as caught:
        ingested(root / "swapped", tmp_path / "out", roots=(str(root),))
    assert "MOCO_ALLOWED_ROOTS" in caught.value.next_step
    assert ingested(root / "set", tmp_path / "fine", roots=(str(root),)).facts.rows == 3


def test_a_folder_that_became_a_link_is_not_followed_out(tmp_path: Path) -> None:
    """Swap it between the check of the source and the listing of the folder."""
    root = allowed(tmp_path)
    walk = folder._Walk(root / "set", Limits(), folder.Follow(True, (root,)))
    entries = {entry.name: entry for entry in map(walk.entry, walk.files())}
    (root / "set" / "deep").rename(root / "moved")
    (root / "set" / "deep").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "c.png").write_bytes(png(9))
    entry = entries["deep/c.png"]
    assert isinstance(entry, Entry)
    with pytest.raises(BadRow, match="out of the allowed roots"):
        entry.load()
    names = {file.name: file.fault for file in walk.files()}
    assert names["deep"] == ("refused", ELSEWHERE)
    strict = folder._Walk(root / "set", Limits(), folder.Follow(False, (root,)))
    assert {file.name for file in strict.files()} == {"a.png", "b.png", "deep"}

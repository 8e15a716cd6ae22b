"""Hostile and honest zip archives. The honest ones are judged by the standard library."""

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.images import png, write_zip
from trainer.data.items import BadFile, Entry, Limits
from trainer.data.rows import BadImage
from trainer.data.zips import open_zip
from trainer.errors import DataError

LIMITS = Limits()


def contents(path: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    with open_zip(path, limits) as listing:
        entries = [entry for entry in listing.entries() if isinstance(entry, Entry)]
        return {entry.name: entry.load() for entry in entries}


def refusal(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(DataError) as caught:
        contents(path, limits)
    assert caught.value.next_step
    return caught.value.detail


@dataclass
class Part:
    """An entry as an attacker would write it: the directory may say other things than the entry."""

    name: bytes = b"a.png"
    data: bytes = b"pixels"
    method: int = 0
    flags: int = 0
    mode: int = 0o100644
    central_name: bytes | None = None
    central_size: int | None = None
    local_size: int | None = None
    local_flags: int | None = None
    central_method: int | None = None
    offset: int | None = None


def forged(path: Path, parts: list[Part], *, tail: bytes = b"", count: int | None = None) -> Path:
    body, directory = b"", b""
    for part in parts:
        packed = part.data if part.method != 8 else _deflated(part.data)
        crc, size = zlib.crc32(part.data), len(part.data)
        at = len(body) if part.offset is None else part.offset
        local_size = size if part.local_size is None else part.local_size
        local_flags = part.flags if part.local_flags is None else part.local_flags
        body += struct.pack(
            "<4s5H3I2H", b"PK\3\4", 20, local_flags, part.method, 0, 33, crc, len(packed),
            local_size, len(part.name), 0,
        ) + part.name + packed  # fmt: skip
        name = part.name if part.central_name is None else part.central_name
        method = part.method if part.central_method is None else part.central_method
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0x031E, 20, part.flags, method, 0, 33, crc, len(packed),
            size if part.central_size is None else part.central_size, len(name), 0, 0, 0, 0,
            part.mode << 16, at,
        ) + name  # fmt: skip
    number = len(parts) if count is None else count
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, len(directory), len(body), 0)
    path.write_bytes(body + directory + end + tail)
    return path


def _deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_honest_archives_read_like_the_standard_library(tmp_path: Path, method: int) -> None:
    files = {f"{name}.png": png(number) for number, name in enumerate(["b/2", "a/ä", "c", "b/1"])}
    path = write_zip(tmp_path / "x.zip", files, method)
    assert contents(path) == dict(sorted(files.items()))
    assert list(contents(path)) == sorted(files)


def test_streamed_archives_with_folders_and_a_comment_are_read(tmp_path: Path) -> None:
    """A writer that cannot seek puts sizes behind the data and sets bit 3."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe, zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/a.png", b"one", zipfile.ZIP_DEFLATED)
        archive.writestr("folder/b.png", b"two")
        archive.comment = b"with a comment"
    with os.fdopen(read_end, "rb") as received:
        (tmp_path / "x.zip").write_bytes(received.read())
    assert contents(tmp_path / "x.zip") == {"folder/a.png": b"one", "folder/b.png": b"two"}


def test_sixty_four_bit_archives_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open("a.png", "w", force_zip64=True) as file,
    ):
        file.write(b"pixels")
    assert contents(path) == {"a.png": b"pixels"}


HOSTILE: dict[str, tuple[list[Part], str]] = {
    "traversal": ([Part(b"../../etc/cron.d/x.png")], "'..'"),
    "traversal inside": ([Part(b"a/../../x.png")], "'..'"),
    "absolute": ([Part(b"/etc/x.png")], "absolute path"),
    "drive": ([Part(b"C:/x.png")], "absolute path"),
    "backslash": ([Part(b"..\\..\\x.png")], "backslash"),
    "nul": ([Part(b"x.png\0.txt")], "control character"),
    "newline": ([Part(b"x\n.png")], "control character"),
    "long name": ([Part(b"a" * 256)], "longer than 255 bytes"),
    "link": ([Part(mode=0o120777)], "is a link"),
    "device": ([Part(mode=0o020666)], "device or a pipe"),
    "fifo": ([Part(mode=0o010666)], "device or a pipe"),
    "socket": ([Part(mode=0o140666)], "device or a pipe"),
    "encrypted": ([Part(flags=0x1)], "is encrypted"),
    "strongly encrypted": ([Part(flags=0x41)], "is encrypted"),
    "hidden header": ([Part(flags=0x2000)], "is encrypted"),
    "patch": ([Part(flags=0x20)], "only store and deflate"),
    "lzma": ([Part(method=14)], "only store and deflate"),
    "twice": ([Part(b"a.png"), Part(b"a.png")], "is there 2 times"),
    "twice under two names": ([Part(b"a.png"), Part(b"./a.png")], "is there 2 times"),
    "other name inside": ([Part(b"a.png", central_name=b"b.png")], "differs from the directory"),
    "other method inside": ([Part(central_method=8)], "differs from the directory"),
    "other flags inside": ([Part(local_flags=0x1)], "differs from the directory"),
    "other size inside": ([Part(local_size=7)], "differs from the directory"),
    "stored size lie": ([Part(central_size=600)], "another size than it declares"),
    "overlap": ([Part(b"a.png", data=b"x" * 90), Part(b"a.png", offset=0)], "is there 2 times"),
    "no header": ([Part(offset=3)], "not where the directory says"),
    "far away": ([Part(offset=2**31)], "ends too soon"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_whole(tmp_path: Path, name: str) -> None:
    parts, reason = HOSTILE[name]
    assert reason in refusal(forged(tmp_path / "x.zip", parts))
    mixed = [Part(b"0good.png", data=b"fine"), *parts]
    if all(part.offset is None for part in parts):
        assert reason in refusal(forged(tmp_path / "y.zip", mixed))


@pytest.mark.parametrize("shift", [1, 0, -1])
def test_overlapping_entries_are_refused(tmp_path: Path, shift: int) -> None:
    """A stored entry whose data hold the next one's header whole: one byte decides."""
    inner = forged(tmp_path / "inner.zip", [Part(b"b.png", data=b"q" * 50)]).read_bytes()
    inner_local = inner[: 30 + 5 + 50]
    outer = Part(b"a.png", data=b"x" * 20 + inner_local[: len(inner_local) + min(shift, 0)])
    at = 30 + 5 + 20
    path = forged(tmp_path / "x.zip", [outer, Part(b"b.png", data=b"q" * 50, offset=at)])
    assert "overlaps with 'a.png'" in refusal(path) or "not where" in refusal(path)


def test_quoted_overlap_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Fifty names for one kernel of data (Fifield 2019), which Python 3.11.7 unpacks."""
    kernel = Part(b"00.png", data=b"\0" * 100_000, method=8)
    others = [
        Part(b"%02d.png" % number, data=b"\0" * 100_000, method=8, offset=0)
        for number in range(1, 50)
    ]
    path = forged(tmp_path / "x.zip", [kernel, *others])
    assert "differs" in refusal(path) or "overlaps" in refusal(path) or "grows" in refusal(path)


def test_sizes_that_lie_are_refused_when_unpacked(tmp_path: Path) -> None:
    for declared, reason in [(10, "is larger than the 10 bytes"), (900, "another size")]:
        part = Part(data=b"y" * 500, method=8, central_size=declared, local_size=declared)
        assert reason in refusal(forged(tmp_path / f"{declared}.zip", [part]))


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = b"\0" * (4 << 20)
    path = write_zip(tmp_path / "x.zip", {"a.png": zeros, "b.png": zeros})
    assert "grows more than ratio_max, 200 times" in refusal(path)
    assert "total_bytes_max is 1000" in refusal(path, Limits(total_bytes=1000))
    many = write_zip(tmp_path / "many.zip", {f"{n}.png": b"" for n in range(30)})
    assert "30 entries; entries_max is 29" in refusal(many, Limits(entries=29))


def test_one_flat_file_is_reported_and_the_others_stay(tmp_path: Path) -> None:
    """A blank picture may be packed well beyond the ratio without being an attack."""
    noise = os.urandom(100_000)
    path = write_zip(tmp_path / "x.zip", {"blank.bmp": b"\0" * (2 << 20), "a.png": noise})
    with open_zip(path, LIMITS) as listing:
        first, second = listing.entries()
    assert isinstance(second, BadFile)
    assert second.reason == "refused"
    assert isinstance(first, Entry)


def test_damaged_bytes_are_one_files_fault(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": os.urandom(500), "b.png": b"fine"})
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with open_zip(path, LIMITS) as listing:
        a, b = listing.entries()
        assert isinstance(a, Entry)
        assert isinstance(b, Entry)
        assert b.load() == b"fine"
        with pytest.raises(BadImage) as caught:
            a.load()
    assert caught.value.reason == "unreadable"


def test_no_truncated_archive_is_read(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "x.zip", {"a.png": png(0), "b.png": png(1)}).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        assert refusal(tmp_path / "cut.zip")


def test_no_flipped_byte_crashes_or_writes(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "x.zip", {"a.png": b"one" * 9, "b.png": b"two" * 9}).read_bytes()
    path = tmp_path / "x.zip"
    for place in range(len(whole)):
        for value in (0xFF, whole[place] ^ 0x01):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                contents(path)
            except (DataError, BadImage) as error:
                assert error.detail  # noqa: PT017 - a flipped date harms nobody
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_bytes_after_the_end_and_wrong_counts_are_refused(tmp_path: Path) -> None:
    assert "bytes follow" in refusal(forged(tmp_path / "tail.zip", [Part()], tail=b"more"))
    assert "ends too soon" in refusal(forged(tmp_path / "more.zip", [Part()], count=2))
    assert "more than its entries" in refusal(forged(tmp_path / "less.zip", [Part()], count=0))


@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "C:", "...", "‥", "a..b"]), min_size=1))
def test_no_name_points_outside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """What is let through stays below a root by the operating system's own reckoning."""
    name = "/".join(parts)
    path = forged(tmp_path_factory.mktemp("zip") / "x.zip", [Part(name.encode(), data=b"x")])
    try:
        names = list(contents(path))
    except DataError:
        return
    for read in names:
        inside = os.path.normpath(os.path.join("/data", read))
        assert inside.startswith("/data/")
        assert not os.path.isabs(read)

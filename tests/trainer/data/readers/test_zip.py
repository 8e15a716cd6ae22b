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

from tests.support.data.images import png, write_zip
from tests.support.data.listings import Lister
from trainer.data.readers.items import BadFile, Entry, Limits
from trainer.data.readers.zip import open_zip
from trainer.data.rows import BadRow
from trainer.schema.errors import DataError

LIST = Lister(open_zip)
contents, lines, refusal = LIST.contents, LIST.lines, LIST.refusal


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
    host: int = 3


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
            "<4s6H3I5H2I", b"PK\1\2", part.host << 8 | 30, 20, part.flags, method, 0, 33, crc,
            len(packed), size if part.central_size is None else part.central_size, len(name),
            0, 0, 0, 0,
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
    "traversal on Windows": ([Part(b"..\\..\\x.png", host=0)], "'..'"),
    "absolute": ([Part(b"/etc/x.png")], "absolute path"),
    "drive": ([Part(b"C:/x.png")], "absolute path"),
    "drive on Windows": ([Part(b"C:\\x.png", host=11)], "absolute path"),
    "overlap": ([Part(b"a.png", data=b"x" * 90), Part(b"a.png", offset=0)], "overlaps with a.png"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_archives_that_could_escape_or_overlap_are_refused_whole(tmp_path: Path, name: str) -> None:
    parts, reason = HOSTILE[name]
    assert reason in refusal(forged(tmp_path / "x.zip", parts))
    mixed = [Part(b"0good.png", data=b"fine"), *parts]
    if all(part.offset is None for part in parts):
        assert reason in refusal(forged(tmp_path / "y.zip", mixed))


ODD: dict[str, tuple[list[Part], str]] = {
    "drive": ([Part(b"A:1.png")], "drive letter"),
    "backslash": ([Part(b"..\\..\\x.png")], "backslash"),
    "nul": ([Part(b"x.png\0.txt")], "control character"),
    "newline": ([Part(b"x\n.png")], "control character"),
    "not UTF-8": ([Part(b"caf\xe9.png", flags=0x800)], "not UTF-8"),
    "long name": ([Part(b"a" * 256)], "longer than 255 bytes"),
    "link": ([Part(mode=0o120777)], "is a link"),
    "device": ([Part(mode=0o020666)], "device or a pipe"),
    "fifo": ([Part(mode=0o010666)], "device or a pipe"),
    "socket": ([Part(mode=0o140666)], "device or a pipe"),
    "encrypted": ([Part(flags=0x1)], "is encrypted"),
    "strongly encrypted": ([Part(flags=0x41)], "is encrypted"),
    "hidden header": ([Part(flags=0x2000)], "is encrypted"),
    "patch": ([Part(flags=0x20)], "only store and deflate"),
    "lzma": ([Part(method=14)], "packed with LZMA"),
    "deflate64": ([Part(method=9)], "packed with Deflate64"),
    "a method of its own": ([Part(method=77)], "packed with method 77"),
    "twice": ([Part(b"a.png", data=b"old"), Part(b"a.png")], "is there again"),
    "twice under two names": ([Part(b"a.png", data=b"old"), Part(b"./a.png")], "is there again"),
    "other name inside": ([Part(b"a.png", central_name=b"b.png")], "differs from the directory"),
    "other method inside": ([Part(central_method=8)], "differs from the directory"),
    "other flags inside": ([Part(local_flags=0x1)], "differs from the directory"),
    "other size inside": ([Part(local_size=7)], "differs from the directory"),
    "stored size lie": ([Part(central_size=600)], "another size than it declares"),
    "no header": ([Part(offset=3)], "not where the directory says"),
    "far away": ([Part(offset=2**31)], "not where the directory says"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_entries_are_lines_beside_good_ones(tmp_path: Path, name: str) -> None:
    parts, reason = ODD[name]
    path = forged(tmp_path / "x.zip", [Part(b"0good.png", data=b"fine"), *parts])
    last_of_two = {"a.png": b"pixels"} if len(parts) == 2 else {}
    assert contents(path) == {"0good.png": b"fine"} | last_of_two
    (detail,) = lines(path).values()
    assert reason in detail
    assert all(name.isprintable() for name in lines(path))


@pytest.mark.parametrize("host", [0, 10, 11, 14])
def test_backslashes_of_windows_are_slashes(tmp_path: Path, host: int) -> None:
    """Some Windows programs write backslashes and declare Windows as their system."""
    names = [b"cat\\0.png", b"dog\\sub\\1.png", b"top.png", b"folder\\"]
    parts = [Part(name, data=b"" if name.endswith(b"\\") else b"p", host=host) for name in names]
    path = forged(tmp_path / "x.zip", parts)
    assert set(contents(path)) == {"cat/0.png", "dog/sub/1.png", "top.png"}
    assert not lines(path)


def test_backslashes_everywhere_are_slashes_whatever_the_system(tmp_path: Path) -> None:
    path = forged(tmp_path / "x.zip", [Part(b"cat\\0.png"), Part(b"dog\\0.png")])
    assert set(contents(path)) == {"cat/0.png", "dog/0.png"}


def test_more_entries_than_sixteen_bits_count(tmp_path: Path) -> None:
    """65,540 entries and an end record that says 4, as programs without the 64-bit format do."""
    parts = [Part(b"%05d.png" % number, data=b"") for number in range(65_540)]
    path = forged(tmp_path / "x.zip", parts, count=4)
    with open_zip(path, Limits()) as listing:
        assert len(listing.names) == 65_540
    assert "more entries than entries_max, 9" in refusal(path, Limits(entries=9))


@pytest.mark.parametrize("shift", [1, 0, -1])
def test_overlapping_entries_are_refused(tmp_path: Path, shift: int) -> None:
    """A stored entry whose data hold the next one's header whole: one byte decides."""
    inner = forged(tmp_path / "inner.zip", [Part(b"b.png", data=b"q" * 50)]).read_bytes()
    inner_local = inner[: 30 + 5 + 50]
    outer = Part(b"a.png", data=b"x" * 20 + inner_local[: len(inner_local) + min(shift, 0)])
    at = 30 + 5 + 20
    path = forged(tmp_path / "x.zip", [outer, Part(b"b.png", data=b"q" * 50, offset=at)])
    assert "overlaps with a.png" in refusal(path)


def test_quoted_overlap_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Fifty names for one kernel of data (Fifield 2019), which Python 3.11.7 unpacks."""
    kernel = Part(b"00.png", data=b"\0" * 100_000, method=8)
    others = [
        Part(b"%02d.png" % number, data=b"\0" * 100_000, method=8, offset=0)
        for number in range(1, 50)
    ]
    path = forged(tmp_path / "x.zip", [kernel, *others])
    assert "grows more" in refusal(path)
    assert "overlaps" in refusal(path, Limits(ratio=10**6))


def test_sizes_that_lie_are_refused_when_unpacked(tmp_path: Path) -> None:
    part = Part(data=b"y" * 500, method=8, central_size=10, local_size=10)
    assert "is larger than the 10 bytes" in refusal(forged(tmp_path / "x.zip", [part]))
    part = Part(data=b"y" * 500, method=8, central_size=900, local_size=900)
    with pytest.raises(BadRow, match="it has 500 bytes of 900"):
        contents(forged(tmp_path / "y.zip", [part]))


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = b"\0" * (4 << 20)
    path = write_zip(tmp_path / "x.zip", {"a.png": zeros, "b.png": zeros})
    assert "grows more than ratio_max, 200 times" in refusal(path)
    assert "total_bytes_max is 1000" in refusal(path, Limits(total_bytes=1000))
    many = write_zip(tmp_path / "many.zip", {f"{n}.png": b"" for n in range(30)})
    assert "more entries than entries_max, 29" in refusal(many, Limits(entries=29))


def test_one_flat_file_is_reported_and_the_others_stay(tmp_path: Path) -> None:
    """A blank picture may be packed well beyond the ratio without being an attack."""
    noise = os.urandom(100_000)
    path = write_zip(tmp_path / "x.zip", {"blank.bmp": b"\0" * (2 << 20), "a.png": noise})
    with open_zip(path, Limits()) as listing:
        first, second = listing.entries()
    assert isinstance(second, BadFile)
    assert second.reason == "refused"
    assert isinstance(first, Entry)


def test_damaged_bytes_are_one_files_fault(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": os.urandom(500), "b.png": b"fine"})
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    with open_zip(path, Limits()) as listing:
        a, b = listing.entries()
        assert isinstance(a, Entry)
        assert isinstance(b, Entry)
        assert b.load() == b"fine"
        with pytest.raises(BadRow) as caught:
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
            except (DataError, BadRow) as error:
                assert error.detail  # noqa: PT017 - a flipped date harms nobody
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_bytes_after_the_end_and_wrong_counts_are_refused(tmp_path: Path) -> None:
    assert "bytes follow" in refusal(forged(tmp_path / "tail.zip", [Part()], tail=b"more"))
    assert "holds 1 entries, not 2" in refusal(forged(tmp_path / "more.zip", [Part()], count=2))
    assert "holds 1 entries, not 0" in refusal(forged(tmp_path / "less.zip", [Part()], count=0))


@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "C:", "...", "‥", "a..b"]), min_size=1))
def test_no_name_points_outside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """Accepted names stay below a root by the operating system's own rules."""
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

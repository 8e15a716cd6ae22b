"""Hostile and honest tar archives. The honest ones are judged by the standard library."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from pathlib import Path

import pyarrow
import pytest

from tests.support.data.images import png
from tests.support.data.listings import Lister
from trainer.data.readers.items import Limits
from trainer.data.readers.tar import open_tar

LIST = Lister(open_tar)
contents, lines, refusal = LIST.contents, LIST.lines, LIST.refusal


def write_tar(
    path: Path, files: dict[str, bytes], mode: str = "w", kind: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def zstd(data: bytes) -> bytes:
    packed: bytes = pyarrow.compress(data, codec="zstd", asbytes=True)
    return packed


def one_member(path: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    member.size = len(data)
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zstd"])
def test_honest_archives_read_like_the_standard_library(
    tmp_path: Path, mode: str, kind: int
) -> None:
    """Short names, names that need a prefix, long names, and names beyond ASCII."""
    names = ["b.png", "a/c.png", "d" * 60 + "/" + "e" * 90 + ".png", "kätzchen.png"]
    if kind != tarfile.USTAR_FORMAT:
        names.append("f" * 110 + "/" + "g" * 130 + ".png")
    files = {name: png(number) for number, name in enumerate(names)}
    path = write_tar(tmp_path / "x.tar", files, "w" if mode == "zstd" else mode, kind)
    if mode == "zstd":
        path.write_bytes(zstd(path.read_bytes()))
    assert contents(path) == files
    assert list(contents(path)) == names


def test_a_folder_packed_by_the_tar_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "cat" / "1.png").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "in", arcname=".")
    assert contents(tmp_path / "x.tar") == {"cat/1.png": b"one"}


ALLOWED = {b"0", b"\0", b"7"}
EXTENSIONS = {b"5", b"x", b"g", b"L", b"K"}


@pytest.mark.parametrize("code", range(256))
def test_each_type_flag_is_a_file_a_folder_an_extension_or_a_line(
    tmp_path: Path, code: int
) -> None:
    kind = bytes([code])
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(header) + b"\0" * 1024)
    if kind in ALLOWED:
        assert contents(path) == {"a.png": b""}
    elif kind in EXTENSIONS:
        if kind == b"L":
            assert "last entry is missing" in refusal(path)
        else:
            assert contents(path) == {}
    else:
        assert contents(path) == {}
        assert list(lines(path)) == ["a.png"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"), (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a pipe"), (tarfile.GNUTYPE_SPARSE, "is sparse"),
        (b"Z", "unknown type (0x5a)"),
    ],
)  # fmt: skip
def test_what_is_no_regular_file_is_a_line(
    tmp_path: Path, kind: bytes, reason: str, mode: str
) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in ("a.png", "odd.png", "b.png"):
            member = tarfile.TarInfo(name)
            if name == "odd.png":
                member.type, member.linkname = kind, "/etc/passwd"
            else:
                member.size = 5
            archive.addfile(member, io.BytesIO(b"bytes"))
    assert contents(path) == {"a.png": b"bytes", "b.png": b"bytes"}
    assert list(lines(path)) == ["odd.png"]
    assert reason in lines(path)["odd.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x.png", "'..'"), ("a/../../x.png", "'..'"), ("/etc/x.png", "absolute path"),
        ("C:/x.png", "absolute path"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_could_escape_refuse_the_whole(
    tmp_path: Path, name: str, reason: str, kind: int
) -> None:
    path = write_tar(tmp_path / "x.tar", {"good.png": b"1", name: b"2"}, kind=kind)
    assert reason in refusal(path)


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        ("x\n.png", r"x\x0a.png", "control character"), ("A:1.png", "A:1.png", "drive letter"),
        ("a\\..\\x.png", r"a\..\x.png", "backslash"),
        ("caf\udce9.png", r"caf\xe9.png", "not UTF-8"),
        ("n" * 296 + ".png", "n" * 296 + ".png", "longer than 255 bytes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_odd_names_are_lines(tmp_path: Path, name: str, shown: str, reason: str, kind: int) -> None:
    path = write_tar(tmp_path / "x.tar", {"good.png": b"1", name: b"2", "z.png": b"3"}, kind=kind)
    assert contents(path) == {"good.png": b"1", "z.png": b"3"}
    assert list(lines(path)) == [shown]
    assert reason in lines(path)[shown]


def test_of_names_given_twice_the_last_is_read_as_tar_does(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.png", b"old"), ("b.png", b"other"), ("./a.png", b"new")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert contents(path) == {"b.png": b"other", "a.png": (tmp_path / "out/a.png").read_bytes()}
    assert list(lines(path)) == ["a.png"]


def test_pax_sparse_files_are_lines(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x.png")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999999"}
    assert "is sparse" in lines(one_member(tmp_path / "x.tar", member))["x.png"]


def test_the_map_of_an_old_sparse_file_is_passed_over(tmp_path: Path) -> None:
    """Its header says that more blocks of the map follow before the bytes."""
    header = bytearray(tarfile.TarInfo("holes.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482] = b"S", 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more, last = bytearray(512), bytes(512)
    more[504] = 1
    rest = write_tar(tmp_path / "rest.tar", {"a.png": b"1"}).read_bytes()
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(more) + last + rest)
    assert contents(tmp_path / "x.tar") == {"a.png": b"1"}
    assert "is sparse" in lines(tmp_path / "x.tar")["holes.png"]


def test_long_extended_headers_are_refused_unread(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", 8 << 30
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
    assert "a long name in it has 8589934592 bytes" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_no_truncated_archive_is_read(tmp_path: Path, mode: str) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": os.urandom(700), "b.png": png(1)}, mode)
    whole = path.read_bytes()
    # A plain archive is whole once the first of its empty blocks at the end is there.
    blocks = -(-len(whole.rstrip(b"\0")) // 512) + 1
    needed = len(whole) if mode != "w" else 512 * blocks
    for length in [*range(0, needed, 37), needed - 1]:
        path.write_bytes(whole[:length])
        assert refusal(path)


def test_damaged_headers_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": b"1", "b.png": b"2"})
    whole = bytearray(path.read_bytes())
    whole[1024 + 3] ^= 1
    path.write_bytes(whole)
    assert "header at byte 1024 is damaged" in refusal(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tgz", {"a.png": os.urandom(3000)}, "w:gz").read_bytes()
    for place in (len(whole) // 2, len(whole) - 6):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "y.tgz").write_bytes(damaged)
        assert refusal(tmp_path / "y.tgz")


def test_damaged_zstd_and_several_streams_after_one_another(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", {"a.png": os.urandom(3000)}).read_bytes()
    path = tmp_path / "y.tar.zst"
    path.write_bytes(zstd(whole[:1000]) + zstd(whole[1000:]))
    assert contents(path) == contents(tmp_path / "x.tar")
    for length in (10, 900, path.stat().st_size - 1):
        (tmp_path / "cut.zst").write_bytes(path.read_bytes()[:length])
        assert refusal(tmp_path / "cut.zst")
    for kind in (bz2, lzma):
        path.write_bytes(kind.compress(whole[:1000]) + kind.compress(whole[1000:]))
        assert contents(path) == contents(tmp_path / "x.tar")


def test_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    tar = write_tar(tmp_path / "x.tar", {"a.png": b"1"}).read_bytes()
    (tmp_path / "y.tar.xz").write_bytes(lzma.compress(tar, filters=filters))
    assert "Memory usage limit" in refusal(tmp_path / "y.tar.xz")


def test_bombs_are_refused_early(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte: refused after the first megabytes."""
    path = tmp_path / "x.tgz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        member = tarfile.TarInfo("a.png")
        member.size = 1 << 30
        file.write(member.tobuf())
        for _ in range(64):
            file.write(b"\0" * (1 << 20))
    assert "grows more than ratio_max, 200 times" in refusal(path)
    plain = write_tar(tmp_path / "x.tar", {"a.png": b"\0" * 5000})
    assert "total_bytes_max, 4000" in refusal(plain, Limits(total_bytes=4000))
    many = write_tar(tmp_path / "y.tar", {f"{n}.png": b"" for n in range(30)})
    assert "entries_max, 29" in refusal(many, Limits(entries=29))

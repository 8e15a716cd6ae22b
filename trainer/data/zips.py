"""Zip archives, read entry by entry with every offset checked before the first byte is unpacked.

The format is APPNOTE 6.3.10 (PKWARE). Written here because the standard library of Python 3.11.7
accepts entries that overlap (CVE-2024-0450), names cut at NUL, and directories that disagree with
the entries. Store and deflate only. Names are never used as paths.
"""

import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from trainer.data.items import BadFile, Entry, Limits, Listing, name_fault, refused, tidy
from trainer.data.rows import BadImage
from trainer.errors import DataError

END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
CENTRAL = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")
MAX16, MAX32 = 0xFFFF, 0xFFFF_FFFF
FLAG_STREAMED, FLAG_UTF8 = 0x8, 0x800
FLAGS_ENCRYPTED = 0x1 | 0x40 | 0x2000
FLAG_PATCH = 0x20
STORE, DEFLATE = 0, 8
DIRECTORY_BYTES_MAX = 512 * 1024**2
AGAIN = "Pack the images again with a usual zip program, then add the dataset again."


@dataclass(frozen=True, slots=True)
class Member:
    """An entry as the central directory has it."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    mode: int
    offset: int
    """Of the local header."""
    data_offset: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it only names a folder."""
        return self.raw_name.endswith(b"/") or stat.S_ISDIR(self.mode)


@contextmanager
def open_zip(path: Path, limits: Limits) -> Iterator[Listing]:
    """The files of a zip archive in the order of their names. Raises DataError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        reader = ZipReader(file, path.name, limits)
        members = sorted(reader.members(), key=attrgetter("name"))
        yield Listing(
            names=[member.name for member in members],
            bytes_total=sum(member.size_bytes for member in members),
            entries=lambda: (reader.entry(member) for member in members),
        )
    finally:
        os.close(file)


class ZipReader:
    """Checks a zip archive whole, then unpacks single entries, from any thread."""

    def __init__(self, file: int, archive: str, limits: Limits) -> None:
        self._file, self._archive, self._limits = file, archive, limits
        self._file_bytes = os.fstat(file).st_size

    def members(self) -> list[Member]:
        """Every regular file, checked. Raises DataError naming the first entry at fault."""
        count, size_bytes, offset = self._directory()
        if count > self._limits.entries:
            raise self._broken(
                f"it has {count} entries; entries_max is {self._limits.entries}",
                then="Raise entries_max, or send it in parts.",
            )
        members = self._central(count, self._read(offset, size_bytes))
        self._check_names(members)
        self._check_totals(members)
        members = [self._checked_local(member) for member in members]
        self._check_overlap(members, directory=offset)
        return [
            replace(member, name=tidy(member.name)) for member in members if not member.is_folder
        ]

    def entry(self, member: Member) -> Entry | BadFile:
        """A member to load, or its reason why not."""
        limits = self._limits
        if (
            member.size_bytes > limits.ratio_from_bytes
            and member.size_bytes > limits.ratio * member.packed_bytes
        ):
            ratio = member.size_bytes // max(1, member.packed_bytes)
            detail = f"it grows {ratio} times when unpacked; ratio_max is {limits.ratio}"
            return BadFile(member.name, "refused", detail, member.size_bytes)
        return Entry(member.name, member.size_bytes, lambda: self.load(member))

    def load(self, member: Member) -> bytes:
        """The bytes of a member. Raises BadImage if damaged, DataError if its size is a lie."""
        packed = self._read(member.data_offset, member.packed_bytes)
        data = packed if member.method == STORE else self._inflated(member, packed)
        if zlib.crc32(data) != member.crc:
            raise BadImage("unreadable", "its checksum in the archive does not match")
        return data

    def _inflated(self, member: Member, packed: bytes) -> bytes:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflate.decompress(packed, member.size_bytes + 1)
        except zlib.error as error:
            raise BadImage("unreadable", f"its compressed bytes are damaged: {error}") from error
        if len(data) > member.size_bytes:
            raise self._refused(member, f"is larger than the {member.size_bytes} bytes it declares")
        if not inflate.eof:
            raise BadImage("truncated", "its compressed bytes end too soon")
        if len(data) < member.size_bytes or inflate.unused_data:
            raise self._refused(member, "has another size than it declares")
        return data

    def _directory(self) -> tuple[int, int, int]:
        """Number of entries, size and offset of the central directory."""
        tail_at = max(0, self._file_bytes - END.size - MAX16)
        tail = self._read(tail_at, self._file_bytes - tail_at)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + END.size > len(tail):
            raise self._broken("it has no end record: the file is truncated or no zip")
        _, disk, first_disk, _, count, size_bytes, offset, comment = END.unpack_from(tail, at)
        if at + END.size + comment != len(tail):
            raise self._broken("bytes follow its end record")
        if disk or first_disk:
            raise self._broken("it is one part of several")
        end = tail_at + at
        if count == MAX16 or MAX32 in (size_bytes, offset):
            count, size_bytes, offset, end = self._directory64(end)
        if offset + size_bytes != end or size_bytes > DIRECTORY_BYTES_MAX:
            raise self._broken("its directory is not where the end record says")
        return count, size_bytes, offset

    def _directory64(self, end: int) -> tuple[int, int, int, int]:
        locator_at = end - LOCATOR64.size
        if locator_at < 0:
            raise self._broken("its 64-bit end record is missing")
        magic, _, at, _ = LOCATOR64.unpack(self._read(locator_at, LOCATOR64.size))
        if magic != b"PK\6\7" or at + END64.size > locator_at:
            raise self._broken("its 64-bit end record is missing")
        record = END64.unpack(self._read(at, END64.size))
        if record[0] != b"PK\6\6":
            raise self._broken("its 64-bit end record is missing")
        count, size_bytes, offset = record[7:10]
        return count, size_bytes, offset, at

    def _central(self, count: int, directory: bytes) -> list[Member]:
        members, at = [], 0
        try:
            for _ in range(count):
                member, at = self._central_member(directory, at)
                members.append(member)
        except struct.error as error:
            raise self._broken("its directory ends too soon") from error
        if at != len(directory):
            raise self._broken("its directory holds more than its entries")
        return members

    def _central_member(self, directory: bytes, at: int) -> tuple[Member, int]:
        fields = CENTRAL.unpack_from(directory, at)
        magic, flags, method = fields[0], fields[3], fields[4]
        crc, packed, size, name_len, extra_len, note_len = fields[7:13]
        attributes, offset = fields[15:17]
        name_at = at + CENTRAL.size
        extra_at = name_at + name_len
        end = extra_at + extra_len + note_len
        if magic != b"PK\1\2" or end > len(directory):
            raise self._broken("its directory is damaged")
        raw_name = directory[name_at:extra_at]
        if MAX32 in (packed, size, offset):
            extra = directory[extra_at : extra_at + extra_len]
            size, packed, offset = self._wide(extra, size, packed, offset)
        name = _decoded_name(raw_name, flags)
        mode = attributes >> 16
        return Member(raw_name, name, flags, method, crc, packed, size, mode, offset), end

    def _wide(self, extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
        """The 64-bit values of those fields that are full."""
        wide = _extra_field(extra, 1)
        values = [size, packed, offset]
        for place, value in enumerate(values):
            if value == MAX32:
                if len(wide) < 8:
                    raise self._broken("a 64-bit size is missing from its directory")
                values[place] = int.from_bytes(wide[:8], "little")
                wide = wide[8:]
        return values[0], values[1], values[2]

    def _check_names(self, members: list[Member]) -> None:
        for member in members:
            if fault := self._fault(member):
                raise self._refused(member, fault)
        names = Counter(tidy(member.name) for member in members if not member.is_folder)
        if len(names) < sum(names.values()):
            name, times = names.most_common(1)[0]
            raise refused(self._archive, name, f"is there {times} times", then=AGAIN)

    def _fault(self, member: Member) -> str | None:
        kind = stat.S_IFMT(member.mode)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link" if stat.S_ISLNK(member.mode) else "is a device or a pipe"
        if member.flags & FLAGS_ENCRYPTED:
            return "is encrypted"
        if member.flags & FLAG_PATCH or member.method not in (STORE, DEFLATE):
            return f"is packed with method {member.method}; only store and deflate are read"
        if member.method == STORE and member.packed_bytes != member.size_bytes:
            return "is stored with another size than it declares"
        if not member.is_folder and not tidy(member.name):
            return "has no name"
        return name_fault(member.name, self._limits)

    def _check_totals(self, members: list[Member]) -> None:
        total = sum(member.size_bytes for member in members)
        limits = self._limits
        if total > limits.total_bytes:
            raise self._broken(
                f"it unpacks to {total} bytes; total_bytes_max is {limits.total_bytes}",
                then="Raise total_bytes_max, or send it in parts.",
            )
        if total > limits.ratio_from_bytes and total > limits.ratio * self._file_bytes:
            raise self._broken(
                f"it grows more than ratio_max, {limits.ratio} times, when unpacked",
                then="If you trust it, raise ratio_max.",
            )

    def _checked_local(self, member: Member) -> Member:
        """Find the data, and compare the entry's own header with the directory's."""
        header = self._read(member.offset, LOCAL.size + len(member.raw_name), short=True)
        if len(header) < LOCAL.size or not header.startswith(b"PK\3\4"):
            raise self._refused(member, "is not where the directory says")
        _, _, flags, method, _, _, crc, packed, size, name_len, extra_len = LOCAL.unpack_from(
            header
        )
        expected = (member.crc, member.packed_bytes, member.size_bytes)
        sizes_agree = all(
            mine in (theirs, MAX32) or (flags & FLAG_STREAMED and not mine)
            for mine, theirs in zip((crc, packed, size), expected, strict=True)
        )
        if (
            not sizes_agree
            or (flags, method, name_len) != (member.flags, member.method, len(member.raw_name))
            or header[LOCAL.size :] != member.raw_name
        ):
            raise self._refused(member, "differs from the directory's record of it")
        return replace(member, data_offset=member.offset + LOCAL.size + name_len + extra_len)

    def _check_overlap(self, members: list[Member], *, directory: int) -> None:
        in_order = sorted(members, key=attrgetter("offset"))
        for member, following in pairwise(in_order):
            if member.data_offset + member.packed_bytes > following.offset:
                raise self._refused(following, f"overlaps with {member.name!r}")
        if in_order and in_order[-1].data_offset + in_order[-1].packed_bytes > directory:
            raise self._refused(in_order[-1], "runs into the directory")

    def _read(self, offset: int, size_bytes: int, *, short: bool = False) -> bytes:
        if offset > self._file_bytes or (offset + size_bytes > self._file_bytes and not short):
            raise self._broken("it ends too soon")
        data = b""
        while more := os.pread(self._file, size_bytes - len(data), offset + len(data)):
            data += more
        if len(data) < size_bytes and not short:
            raise self._broken("it ends too soon")
        return data

    def _refused(self, member: Member, why: str) -> DataError:
        return refused(self._archive, member.name, why, then=AGAIN)

    def _broken(self, why: str, *, then: str = AGAIN) -> DataError:
        return DataError(f"{self._archive} cannot be read: {why}.", hint=then)


def _decoded_name(raw: bytes, flags: int) -> str:
    """UTF-8 where the entry says so or is so, else the format's own code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace") if flags & FLAG_UTF8 else raw.decode("cp437")


def _extra_field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""

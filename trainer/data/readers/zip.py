"""Zip archives, read entry by entry with every offset checked before the first byte is unpacked.

The format is APPNOTE 6.3.10 (PKWARE). Written here because the standard library of Python 3.11.7
accepts entries that overlap (CVE-2024-0450), names cut at NUL, and directories that disagree with
the entries. Store and deflate only. Names are never used as paths. An odd entry is a line of the
report; an archive is refused whole if an entry could escape, or if it grows past the limits.
"""

import stat
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from trainer.data.readers.item_names import (
    decoded_name,
    escape_fault,
    name_fault,
    normalized_name,
    shown_name,
)
from trainer.data.readers.items import BadFile, Entry, Hostile, Limits, Listing, refused
from trainer.data.readers.regions import Region, open_region, spooled
from trainer.data.rows import BadRow
from trainer.schema.errors import DataError

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
METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz",
    98: "PPMd",
}  # fmt: skip
HOSTS_OF_SLASHES = (3, 19)
"""Unix and macOS: there a backslash is a character of a name."""
PIECE_BYTES = 1 << 20
DIRECTORY_BYTES_MAX = 512 * 1024**2
TWICE = "its name is there again; the last of that name is read"
AGAIN = "Pack the images again with a usual zip program, then add the dataset again."


@dataclass(frozen=True, slots=True)
class Member:
    """An entry as the central directory has it."""

    raw_name: bytes
    name: str
    host: int
    """Number of the system that the entry was made on."""
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    mode: int
    offset: int
    """Offset of the local header."""
    data_offset: int = 0

    @property
    def is_folder(self) -> bool:
        """True if it only names a folder."""
        return self.name.endswith("/") or stat.S_ISDIR(self.mode)

    @property
    def shown(self) -> str:
        """The name for messages."""
        return shown_name(self.name)


@contextmanager
def open_zip(path: Path, limits: Limits) -> Iterator[Listing]:
    """Open a zip archive: its files in the order of their names. Raises DataError."""
    with open_region(path) as region:
        yield zip_listing(region, limits)


def zip_listing(region: Region, limits: Limits, *, scratch: Path | None = None) -> Listing:
    """Return the files of a zip archive in the order of their names. Raises DataError.

    Entries that are opened as regions are unpacked in `scratch`.
    """
    reader = ZipReader(region, limits)
    members, bad = reader.members()
    files: list[Member | BadFile] = sorted([*members, *bad], key=attrgetter("name"))

    def entries() -> Iterator[Entry | BadFile]:
        for file in files:
            yield file if isinstance(file, BadFile) else reader.entry(file, scratch)

    def read(names: Collection[str]) -> Iterator[Entry | BadFile]:
        return (reader.entry(member, scratch) for member in members if member.name in names)

    return Listing(
        names=sorted(member.name for member in members),
        bytes_total=sum(member.size_bytes for member in members),
        entries=entries,
        read=read,
    )


def looks_like_zip(first: bytes) -> bool:
    """Return whether a file that begins with these bytes is a zip, even one without entries."""
    return first.startswith((b"PK\3\4", b"PK\5\6"))


class ZipReader:
    """Checks a zip archive whole, then unpacks single entries, from any thread."""

    def __init__(self, region: Region, limits: Limits) -> None:
        self._region, self._archive, self._limits = region, region.name, limits
        self._file_bytes = region.size_bytes

    def members(self) -> tuple[list[Member], list[BadFile]]:
        """Return the regular files that can be read, and a line for each other entry.

        Raises DataError for an archive that is damaged as a whole, Hostile for one that could
        escape or grow past the limits.
        """
        count, size_bytes, offset = self._directory()
        entries = _with_slashes(self._central(count, self._read(offset, size_bytes)))
        self._check_totals(entries)
        placed = [self._placed(member) for member in entries]
        self._check_overlap([member for member, _ in placed], directory=offset)
        good: dict[str, Member] = {}
        bad = []
        for member, misplaced in placed:
            self._limits.check_time(self._archive)
            if fault := self._fault(member) or misplaced:
                bad.append(BadFile(member.shown, "refused", f"it {fault}", member.size_bytes))
            elif not member.is_folder:
                name = normalized_name(member.name)
                if name in good:
                    bad.append(BadFile(name, "refused", TWICE, good.pop(name).size_bytes))
                good[name] = replace(member, name=name)
        return list(good.values()), bad

    def entry(self, member: Member, scratch: Path | None) -> Entry | BadFile:
        """Return a member to load, or the reason why not."""
        limits = self._limits
        if (
            member.size_bytes > limits.ratio_from_bytes
            and member.size_bytes > limits.ratio * member.packed_bytes
        ):
            ratio = member.size_bytes // max(1, member.packed_bytes)
            detail = f"it grows {ratio} times when unpacked; ratio_max is {limits.ratio}"
            return BadFile(member.name, "refused", detail, member.size_bytes)
        return Entry(
            member.name,
            member.size_bytes,
            lambda: self.load(member),
            lambda: self._as_region(member, scratch),
        )

    def load(self, member: Member) -> bytes:
        """Return the bytes of a member.

        Raises BadRow if it is damaged, Hostile if its sizes are wrong.
        """
        return b"".join(self._pieces(member))

    @contextmanager
    def _as_region(self, member: Member, scratch: Path | None) -> Iterator[Region]:
        if member.method == STORE:
            yield self._region.part(member.data_offset, member.size_bytes, member.name)
            return
        with spooled(self._pieces(member), name=member.name, scratch=scratch) as region:
            yield region

    def _pieces(self, member: Member) -> Iterator[bytes]:
        """Yield the unpacked bytes; size and checksum are verified at the end."""
        crc = size_bytes = 0
        for piece in self._inflated(member):
            crc = zlib.crc32(piece, crc)
            size_bytes += len(piece)
            if size_bytes > member.size_bytes:
                reason = f"is larger than the {member.size_bytes} bytes it declares"
                raise self._hostile(member, reason)
            yield piece
        if size_bytes < member.size_bytes:
            raise BadRow("truncated", f"it has {size_bytes} bytes of {member.size_bytes}")
        if crc != member.crc:
            raise BadRow("unreadable", "its checksum in the archive does not match")

    def _inflated(self, member: Member) -> Iterator[bytes]:
        packed = (
            self._read(member.data_offset + at, min(PIECE_BYTES, member.packed_bytes - at))
            for at in range(0, member.packed_bytes, PIECE_BYTES)
        )
        if member.method == STORE:
            yield from packed
            return
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for piece in packed:
                waiting, is_full = piece, False
                while (waiting or is_full) and not inflate.eof:
                    data = inflate.decompress(waiting, PIECE_BYTES)
                    waiting, is_full = inflate.unconsumed_tail, len(data) == PIECE_BYTES
                    yield data
        except zlib.error as error:
            raise BadRow("unreadable", f"its compressed bytes are damaged: {error}") from error
        if not inflate.eof:
            raise BadRow("truncated", "its compressed bytes end too soon")

    def _directory(self) -> tuple[int, int, int]:
        """Return number of entries, size and offset of the central directory."""
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
        """Return every entry. `count` is compared in its lowest 16 bits: often it has no more."""
        members, at = [], 0
        try:
            while at < len(directory):
                member, at = self._central_member(directory, at)
                members.append(member)
                self._limits.check_time(self._archive)
                if len(members) > self._limits.entries:
                    raise self._costly(
                        f"it has more entries than entries_max, {self._limits.entries}",
                        then="Raise entries_max, or send it in parts.",
                    )
        except struct.error as error:
            raise self._broken("its directory ends too soon") from error
        if (len(members) - count) % (MAX16 + 1):
            raise self._broken(f"its directory holds {len(members)} entries, not {count}")
        return members

    def _central_member(self, directory: bytes, at: int) -> tuple[Member, int]:
        fields = CENTRAL.unpack_from(directory, at)
        magic, made_by, flags, method = fields[0], fields[1], fields[3], fields[4]
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
        host = made_by >> 8
        return Member(raw_name, name, host, flags, method, crc, packed, size, mode, offset), end

    def _wide(self, extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
        """Return the 64-bit values of those fields that are full."""
        wide = _extra_field(extra, 1)
        values = [size, packed, offset]
        for index, value in enumerate(values):
            if value == MAX32:
                if len(wide) < 8:
                    raise self._broken("a 64-bit size is missing from its directory")
                values[index] = int.from_bytes(wide[:8], "little")
                wide = wide[8:]
        return values[0], values[1], values[2]

    def _fault(self, member: Member) -> str | None:
        """Return the reason to reject an entry, or None.

        Raises Hostile if its name could escape.
        """
        if fault := escape_fault(member.name):
            raise self._hostile(member, fault)
        kind = stat.S_IFMT(member.mode)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link" if stat.S_ISLNK(member.mode) else "is a device or a pipe"
        if member.flags & FLAGS_ENCRYPTED:
            return "is encrypted"
        if member.flags & FLAG_PATCH or member.method not in (STORE, DEFLATE):
            method = METHODS.get(member.method, f"method {member.method}")
            return f"is packed with {method}; only store and deflate are read"
        if member.method == STORE and member.packed_bytes != member.size_bytes:
            return "is stored with another size than it declares"
        if not member.is_folder and not normalized_name(member.name):
            return "has no name"
        return name_fault(member.raw_name, member.name, bytes_max=self._limits.name_bytes)

    def _check_totals(self, members: list[Member]) -> None:
        total = sum(member.size_bytes for member in members)
        limits = self._limits
        if total > limits.total_bytes:
            raise self._costly(
                f"it unpacks to {total} bytes; total_bytes_max is {limits.total_bytes}",
                then="Raise total_bytes_max, or send it in parts.",
            )
        if total > limits.ratio_from_bytes and total > limits.ratio * self._file_bytes:
            raise self._costly(
                f"it grows more than ratio_max, {limits.ratio} times, when unpacked",
                then="If you trust it, raise ratio_max.",
            )

    def _placed(self, member: Member) -> tuple[Member, str | None]:
        """Find where the data begin, and compare the entry's own header with the directory's.

        Returns what is wrong with the entry, if anything is.
        """
        header = self._region.pread(member.offset, LOCAL.size + len(member.raw_name))
        if len(header) < LOCAL.size or not header.startswith(b"PK\3\4"):
            return member, "is not where the directory says"
        _, _, flags, method, _, _, crc, packed, size, name_len, extra_len = LOCAL.unpack_from(
            header
        )
        placed = replace(member, data_offset=member.offset + LOCAL.size + name_len + extra_len)
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
            return placed, "differs from the directory's record of it"
        return placed, None

    def _check_overlap(self, members: list[Member], *, directory: int) -> None:
        """Raise Hostile if two entries share bytes: so few bytes become a great many."""
        in_order = sorted((m for m in members if m.data_offset), key=attrgetter("offset"))
        for member, following in pairwise(in_order):
            if member.data_offset + member.packed_bytes > following.offset:
                raise self._hostile(following, f"overlaps with {member.shown}")
        if in_order and in_order[-1].data_offset + in_order[-1].packed_bytes > directory:
            raise self._hostile(in_order[-1], "runs into the directory")

    def _read(self, offset: int, size_bytes: int) -> bytes:
        data = self._region.pread(offset, size_bytes)
        if len(data) < size_bytes:
            raise self._broken("it ends too soon")
        return data

    def _hostile(self, member: Member, why: str) -> Hostile:
        return refused(self._archive, member.name, why, then=AGAIN)

    def _costly(self, why: str, *, then: str) -> Hostile:
        return Hostile(f"{self._archive} cannot be read: {why}.", hint=then)

    def _broken(self, why: str) -> DataError:
        return DataError(f"{self._archive} cannot be read: {why}.", hint=AGAIN)


def _with_slashes(members: list[Member]) -> list[Member]:
    """Return entries with backslashes turned into slashes, where they are separators.

    They are if the entry was made on Windows and has no slash (the rule of unzip), or if every
    entry has one: some programs record the wrong system.
    """
    everywhere = all(b"\\" in member.raw_name for member in members)
    return [
        replace(member, name=member.name.replace("\\", "/"))
        if (everywhere or member.host not in HOSTS_OF_SLASHES) and b"/" not in member.raw_name
        else member
        for member in members
    ]


def _decoded_name(raw: bytes, flags: int) -> str:
    """Decode a name as UTF-8 if the entry says so or it is, else in the format's own code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return decoded_name(raw) if flags & FLAG_UTF8 else raw.decode("cp437")


def _extra_field(extra: bytes, field_id: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == field_id:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""

"""Tar archives, plain or packed; only regular files become rows, names are never used as paths.

An odd entry is a line of the report; an archive is refused whole if an entry could escape, or if
it grows past the limits.

The formats are POSIX.1-2001 (ustar and pax) and GNU's long names. Written here because the
standard library ends silently at a damaged or cut header, and reads long names without a limit.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.data.readers.item_names import (
    decoded_name,
    escape_fault,
    name_fault,
    normalized_name,
    shown_name,
)
from trainer.data.readers.items import BadFile, Entry, Limits, Listing, refused
from trainer.data.readers.regions import Region, open_region, spooled
from trainer.data.readers.stream import Stream, stream_of

BLOCK_BYTES = 512
EXTENSION_BYTES_MAX = 1 << 20
REGULAR, FOLDER = b"0\x007", b"5"
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
KINDS = {
    b"1": "is a hard link", b"2": "is a link", b"3": "is a device", b"4": "is a device",
    b"6": "is a pipe", b"S": "is sparse", b"M": "is continued from another volume",
}  # fmt: skip
WITHOUT_BYTES = b"123456"
"""Types of entries after which no bytes follow, whatever size they declare."""
LEFT_OUT = b"MOCO.left_out"
"""Extended record by which a client says that it did not send a file, and why."""
SENDERS_REASONS = {
    b"link": ("refused", "it is a link; links are read with --follow-links"),
    b"loop": ("refused", "it is a link to a folder that it lies in"),
    b"broken": ("refused", "it is a link that leads nowhere"),
    b"special": ("refused", "it is a device or a pipe"),
    b"unreadable": ("unreadable", "not readable (permissions)"),
}
TWICE = "its name is there again; the last of that name is read"
AGAIN = "Pack only the image files themselves with a usual tar program, then add it again."


@dataclass(frozen=True, slots=True)
class Header:
    """One header block."""

    name: bytes
    size_bytes: int
    kind: bytes
    is_extended: bool = False
    """True if the sparse map continues in the next block."""


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """An entry of the archive, with its long name and size."""

    raw_name: bytes
    name: str
    size_bytes: int
    is_folder: bool
    fault: str | None
    left_out: bytes | None


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file and where its bytes begin, in the unpacked archive."""

    name: str
    size_bytes: int
    offset: int


@contextmanager
def open_tar(path: Path, limits: Limits) -> Iterator[Listing]:
    """Open a tar archive: its files in its own order. Raises DataError."""
    with open_region(path) as region:
        yield tar_listing(region, limits)


def tar_listing(region: Region, limits: Limits, *, scratch: Path | None = None) -> Listing:
    """Return the files of a tar archive in its own order. Raises DataError.

    The archive is read twice: the first pass checks every header, so nothing of a rejected archive
    is decoded. A compressed archive is read sequentially; entries opened as regions are copied to
    `scratch`.
    """
    stream = stream_of(region, limits)
    files = _files(stream, limits)
    members = [file for file in files if isinstance(file, Member)]
    is_packed = stream.is_packed

    def entries() -> Iterator[Entry | BadFile]:
        if not is_packed:
            return (_plain_entry(region, file) for file in files)
        return _packed_entries(stream_of(region, limits), files, scratch)

    def read(names: Collection[str]) -> Iterator[Entry | BadFile]:
        chosen = [member for member in members if member.name in names]
        if not is_packed:
            return (_plain_entry(region, member) for member in chosen)
        return _packed_entries(stream_of(region, limits), chosen, scratch)

    return Listing(
        names=[member.name for member in members],
        bytes_total=sum(member.size_bytes for member in members),
        entries=entries,
        read=read,
        streamed=is_packed,
    )


def _plain_entry(region: Region, file: Member | BadFile) -> Entry | BadFile:
    if isinstance(file, BadFile):
        return file
    part = region.part(file.offset, file.size_bytes, file.name)
    return Entry(
        file.name,
        file.size_bytes,
        lambda: part.pread(0, part.size_bytes),
        lambda: nullcontext(part),
    )


def _packed_entries(
    stream: Stream, files: Sequence[Member | BadFile], scratch: Path | None
) -> Iterator[Entry | BadFile]:
    for file in files:
        yield file if isinstance(file, BadFile) else _packed_entry(stream, file, scratch)


def _packed_entry(stream: Stream, member: Member, scratch: Path | None) -> Entry:
    def load() -> bytes:
        stream.skip(member.offset - stream.position)
        return stream.exactly(member.size_bytes)

    def region() -> AbstractContextManager[Region]:
        stream.skip(member.offset - stream.position)
        return spooled(stream.pieces(member.size_bytes), name=member.name, scratch=scratch)

    return Entry(member.name, member.size_bytes, load, region)


def _files(stream: Stream, limits: Limits) -> list[Member | BadFile]:
    """Return all files in order, those that are no rows as lines. Every header is checked."""
    files: list[Member | BadFile] = []
    index_of: dict[str, int] = {}
    for entry in _entries(stream, limits):
        name = normalized_name(entry.name)
        if reason := SENDERS_REASONS.get(entry.left_out or b""):
            files.append(BadFile(shown_name(entry.name), *reason))
        elif fault := entry.fault or _name_fault(entry, limits):
            files.append(BadFile(shown_name(entry.name), "refused", f"it {fault}"))
        elif not entry.is_folder:
            if name in index_of:
                files[index_of[name]] = BadFile(name, "refused", TWICE)
            index_of[name] = len(files)
            files.append(Member(name, entry.size_bytes, stream.position))
        stream.skip(_padded(entry.size_bytes))
    return files


def _name_fault(entry: ArchiveEntry, limits: Limits) -> str | None:
    if not entry.is_folder and not normalized_name(entry.name):
        return "has no name"
    return name_fault(entry.raw_name, entry.name, bytes_max=limits.name_bytes)


def _entries(stream: Stream, limits: Limits) -> Iterator[ArchiveEntry]:
    """Yield the entries and collect extensions. Raises Hostile if an entry could escape."""
    for number, (header, records) in enumerate(_headers(stream)):
        if number >= limits.entries:
            raise stream.hostile(
                f"it has more entries than entries_max, {limits.entries}",
                then="Raise entries_max, or send it in parts.",
            )
        limits.check_time(stream.archive)
        raw_name = records.get(b"path", header.name)
        name = decoded_name(raw_name)
        if fault := escape_fault(name):
            raise refused(stream.archive, name, fault, then=AGAIN)
        size_bytes = 0 if header.kind in WITHOUT_BYTES else _size(stream, records, header)
        is_folder = header.kind == FOLDER or name.endswith("/")
        fault = _kind_fault(header, records)
        yield ArchiveEntry(raw_name, name, size_bytes, is_folder, fault, records.get(LEFT_OUT))


def _headers(stream: Stream) -> Iterator[tuple[Header, dict[bytes, bytes]]]:
    """Yield entry headers with their extended records, such as long names."""
    pax: dict[bytes, bytes] = {}
    pax_global: dict[bytes, bytes] = {}
    while (header := _header(stream)) is not None:
        if header.kind in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            data = _extension(stream, header)
            if header.kind == LONG_NAME:
                pax.setdefault(b"path", data.rstrip(b"\0"))
            elif header.kind == PAX:
                pax |= _pax_records(stream, data)
            elif header.kind == PAX_GLOBAL:
                pax_global |= _pax_records(stream, data)
            continue
        while header.is_extended:
            header = replace(header, is_extended=bool(stream.exactly(BLOCK_BYTES)[504]))
        yield header, pax_global | pax
        pax = {}
    if pax:
        raise stream.broken("its last entry is missing")
    for _ in stream.rest():
        pass  # To the end, where gzip keeps its checksum.


def _header(stream: Stream) -> Header | None:
    """Return the next header, or None at the end of the archive."""
    block = stream.exactly(BLOCK_BYTES)
    if not block.strip(b"\0"):
        return None
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _number(stream, block[148:156]) != checksum:
        raise stream.broken(f"the header at byte {stream.position - BLOCK_BYTES} is damaged")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    kind = block[156:157]
    is_extended = kind == b"S" and bool(block[482])
    return Header(name, _number(stream, block[124:136]), kind, is_extended)


def _extension(stream: Stream, header: Header) -> bytes:
    if header.size_bytes > EXTENSION_BYTES_MAX:
        raise stream.broken(f"a long name in it has {header.size_bytes} bytes")
    data = stream.exactly(header.size_bytes)
    stream.skip(_padded(header.size_bytes) - header.size_bytes)
    return data


def _pax_records(stream: Stream, data: bytes) -> dict[bytes, bytes]:
    """Return the records, of the form `length key=value newline`, where length counts all of it."""
    records, offset = {}, 0
    while offset < len(data):
        digits, _, _ = data[offset : offset + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[offset : offset + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or not record.endswith(b"\n") or len(record) != length:
            raise stream.broken("an extended header in it is damaged")
        records[key] = value
        offset += length
    return records


def _size(stream: Stream, records: dict[bytes, bytes], header: Header) -> int:
    """Return the bytes of an entry; an extended header may hold a larger number than the block."""
    text = records.get(b"size")
    if text is None:
        return header.size_bytes
    if not text.isdigit() or len(text) > 20:
        raise stream.broken("an extended header in it is damaged")
    return int(text)


def _kind_fault(header: Header, records: dict[bytes, bytes]) -> str | None:
    if any(key.startswith(b"GNU.sparse") for key in records):
        return "is sparse"
    if header.kind == FOLDER or header.kind in REGULAR:
        return None
    return KINDS.get(header.kind, f"is of an unknown type ({header.kind[0]:#04x})")


def _number(stream: Stream, field: bytes) -> int:
    """Read a number: octal digits, or base 256 where the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise stream.broken("a number in a header is damaged")
    return int(digits or b"0", 8)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def looks_like_tar(block: bytes) -> bool:
    """Return whether a first block is a tar header, whose checksum fits, or an archive's end."""
    if len(block) < BLOCK_BYTES:
        return False
    if not block.strip(b"\0"):
        return True
    digits = block[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")

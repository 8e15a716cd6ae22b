"""Tar archives, plain or gzipped, read forwards; only regular files, names never used as paths.

The formats are POSIX.1-2001 (ustar and pax) and GNU's long names. Written here because the
standard library ends silently at a damaged or cut header, and reads long names without a limit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.data.items import Entry, Limits, Listing, name_fault, refused, tidy
from trainer.data.streams import Stream, open_stream

BLOCK_BYTES = 512
EXTENSION_BYTES_MAX = 1 << 20
REGULAR, FOLDER = b"0\x007", b"5"
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
KINDS = {
    b"1": "is a link", b"2": "is a link", b"3": "is a device", b"4": "is a device",
    b"6": "is a pipe", b"S": "is sparse", b"M": "goes on in another volume",
}  # fmt: skip
AGAIN = "Pack only the image files themselves with a usual tar program, then add it again."


@dataclass(frozen=True, slots=True)
class Header:
    """One header block."""

    name: bytes
    size_bytes: int
    kind: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file and where its bytes begin, in the unpacked archive."""

    name: str
    size_bytes: int
    offset: int


@contextmanager
def open_tar(path: Path, limits: Limits) -> Iterator[Listing]:
    """The files of a tar archive in its own order.

    It is read twice: the first time checks every header, so that nothing is decoded of an archive
    that is refused. Raises DataError.
    """
    with open_stream(path, limits) as stream:
        members = list(_members(stream, limits))
    with open_stream(path, limits) as stream:
        yield Listing(
            names=[member.name for member in members],
            bytes_total=sum(member.size_bytes for member in members),
            entries=lambda: _entries(stream, members),
            streamed=True,
        )


def _entries(stream: Stream, members: list[Member]) -> Iterator[Entry]:
    for member in members:

        def load(member: Member = member) -> bytes:
            stream.skip(member.offset - stream.position)
            return stream.exactly(member.size_bytes)

        yield Entry(member.name, member.size_bytes, load)


def _members(stream: Stream, limits: Limits) -> Iterator[Member]:
    """All regular files, every header checked."""
    names: set[str] = set()
    for number, (header, name, size_bytes) in enumerate(_headers(stream)):
        if number >= limits.entries:
            raise stream.broken(
                f"it has more entries than entries_max, {limits.entries}",
                then="Raise entries_max, or send it in parts.",
            )
        is_folder = header.kind == FOLDER or name.endswith("/")
        fault = _kind_fault(header) or name_fault(name, limits)
        if not fault and not is_folder and not tidy(name):
            fault = "has no name"
        if not fault and tidy(name) in names:
            fault = "is there twice"
        if fault:
            raise refused(stream.archive, name, fault, then=AGAIN)
        if not is_folder:
            names.add(tidy(name))
            yield Member(tidy(name), size_bytes, stream.position)
        stream.skip(_padded(size_bytes))


def _headers(stream: Stream) -> Iterator[tuple[Header, str, int]]:
    """Headers of entries with their long names and sizes; extensions are taken in on the way."""
    long_name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    pax_global: dict[bytes, bytes] = {}
    while (header := _header(stream)) is not None:
        if header.kind in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            data = _extension(stream, header)
            if header.kind == LONG_NAME:
                long_name = data.rstrip(b"\0")
            elif header.kind == PAX:
                pax = _pax_records(stream, data)
            elif header.kind == PAX_GLOBAL:
                pax_global |= _pax_records(stream, data)
            continue
        records = pax_global | pax
        name = records.get(b"path", long_name if long_name is not None else header.name)
        text = name.decode("utf-8", "replace")
        if any(key.startswith(b"GNU.sparse") for key in records):
            raise refused(stream.archive, text, "is sparse", then=AGAIN)
        yield header, text, _size(stream, records, header)
        long_name, pax = None, {}
    if long_name is not None or pax:
        raise stream.broken("its last entry is missing")
    while stream.read(1 << 20):
        pass  # To the end, where gzip keeps its checksum.


def _header(stream: Stream) -> Header | None:
    """The next header, or None at the end of the archive."""
    block = stream.exactly(BLOCK_BYTES)
    if not block.strip(b"\0"):
        return None
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _number(stream, block[148:156]) != checksum:
        raise stream.broken(f"the header at byte {stream.position - BLOCK_BYTES} is damaged")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return Header(name, _number(stream, block[124:136]), block[156:157])


def _extension(stream: Stream, header: Header) -> bytes:
    if header.size_bytes > EXTENSION_BYTES_MAX:
        raise stream.broken(f"a long name in it has {header.size_bytes} bytes")
    data = stream.exactly(header.size_bytes)
    stream.skip(_padded(header.size_bytes) - header.size_bytes)
    return data


def _pax_records(stream: Stream, data: bytes) -> dict[bytes, bytes]:
    """Records of the form `length key=value newline`, where length counts all of it."""
    records, at = {}, 0
    while at < len(data):
        digits, _, _ = data[at : at + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or not record.endswith(b"\n") or len(record) != length:
            raise stream.broken("an extended header in it is damaged")
        records[key] = value
        at += length
    return records


def _size(stream: Stream, records: dict[bytes, bytes], header: Header) -> int:
    """Bytes of an entry; an extended header may say more than the block has room for."""
    text = records.get(b"size")
    if text is None:
        return header.size_bytes if header.kind != FOLDER else 0
    if not text.isdigit() or len(text) > 20:
        raise stream.broken("an extended header in it is damaged")
    return int(text)


def _kind_fault(header: Header) -> str | None:
    if header.kind == FOLDER or header.kind in REGULAR:
        return None
    return KINDS.get(header.kind, f"is of the unknown type {header.kind!r}")


def _number(stream: Stream, field: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise stream.broken("a number in a header is damaged")
    return int(digits or b"0", 8)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def looks_like_tar(block: bytes) -> bool:
    """Whether a first block is a tar header: its checksum fits."""
    if len(block) < BLOCK_BYTES:
        return False
    digits = block[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")

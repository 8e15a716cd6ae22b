"""PNG files without what is not pixels, mended where they are cut off, and with all 16 bits.

The format is that of the W3C recommendation, third edition.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from trainer.data.rows import BadRow
from trainer.modalities.image.formats.orientation import orientation_of

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples of a pixel."""
PALETTE: Final = 3
GREY_ALPHA: Final = 4
WITH_ALPHA: Final = (4, 6)
GREY: Final = 0x80
_PASSES: Final = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""Adam7: first column and row, and the steps between columns and rows, of each pass."""
_TEXT_BYTES_MAX: Final = 1 << 20
_RAW_EXIF: Final = b"Raw profile type exif\0"
_XMP: Final = b"XML:com.adobe.xmp\0"


@dataclass(frozen=True, slots=True)
class Png:
    """Structure of a PNG file, as far as its pixels depend on it."""

    width: int
    height: int
    depth: int
    colour: int
    """0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    is_interlaced: bool
    header: bytes
    """Body of the IHDR chunk."""
    palette: bytes
    """PLTE and tRNS chunks, whole."""
    packed: bytes
    """The bodies of all IDAT chunks."""
    orientation: int
    frames: int
    """Pictures of an animation; 1 of any other file."""
    is_cut: bool
    """True if the file ends before its IEND chunk."""

    @property
    def is_deep(self) -> bool:
        """Return whether pixels have several samples of 16 bits; Pillow would drop half of each."""
        return self.depth == 16 and self.colour != 0

    def file(self) -> bytes:
        """Return a file of only these chunks."""
        chunks = (_chunk(b"IHDR", self.header), self.palette, _chunk(b"IDAT", self.packed))
        return b"".join((SIGNATURE, *chunks, _chunk(b"IEND", b"")))


def parsed(data: bytes) -> Png:
    """Read the chunks that pixels depend on. Raises BadRow."""
    if not data.startswith(SIGNATURE):
        raise BadRow("unreadable", "its first eight bytes are damaged, as by a transfer as text")
    bodies: dict[bytes, list[bytes]] = {}
    exif, xmp = b"", b""
    for name, body, is_whole in _chunks(data):
        if name in (b"IHDR", b"PLTE") and not is_whole:
            raise BadRow("unreadable", f"its {name.decode()} chunk is damaged or cut off")
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            exif, xmp = exif or _exif_text(name, body), xmp or _xmp_text(name, body)
        elif is_whole or name in (b"IDAT", b"eXIf"):
            bodies.setdefault(name, []).append(body)
        if name == b"IEND":
            bodies.setdefault(name, []).append(b"")
            break
    header, is_cut = b"".join(bodies.get(b"IHDR", [])[:1]), b"IEND" not in bodies
    if len(header) != 13:
        raise BadRow("truncated" if is_cut else "unreadable", "it has no header")
    width, height, depth, colour, _, _, interlace = struct.unpack(">2I5B", header)
    if colour not in SAMPLES or depth not in (1, 2, 4, 8, 16) or not width or not height:
        raise BadRow("unreadable", "its header is damaged")
    exif = b"".join(bodies.get(b"eXIf", [])[:1]) or exif
    animation = b"".join(bodies.get(b"acTL", [])[:1])
    palette = ((name, body) for name in (b"PLTE", b"tRNS") for body in bodies.get(name, [])[:1])
    return Png(
        *(width, height, depth, colour, interlace == 1, header),
        palette=b"".join(_chunk(name, body) for name, body in palette),
        packed=b"".join(bodies.get(b"IDAT", [])),
        orientation=orientation_of(exif, xmp),
        frames=max(1, int.from_bytes(animation[:4], "big")),
        is_cut=is_cut,
    )


def mended(png: Png) -> Png:
    """Return the image with its missing rows grey. Raises BadRow if no row is left."""
    passes = _passes(png)
    unpacked = _unpacked(png, passes)
    rows, at, kept = [], 0, 0
    for row_bytes, height in passes:
        whole = min(max(0, (len(unpacked) - at) // row_bytes), height)
        rows += [
            unpacked[at : at + whole * row_bytes],
            _grey_row(png, row_bytes) * (height - whole),
        ]
        at, kept = at + row_bytes * height, kept + whole
    if not kept:
        raise BadRow("truncated", "the file ends before its first row of pixels")
    return replace(png, packed=zlib.compress(b"".join(rows), 1), is_cut=False)


def with_bytes_swapped(png: Png) -> Png:
    """Return the image with the two bytes of each sample of 16 bits swapped. Raises BadRow.

    PNG filters treat each byte of a pixel separately, so swapping filtered bytes swaps those of the
    pixels. A decoder that keeps the upper byte of each sample then returns the lower.
    """
    passes = _passes(png)
    rows = np.frombuffer(bytearray(_unpacked(png, passes)), np.uint8)
    at = 0
    for row_bytes, height in passes:
        part = rows[at : at + row_bytes * height]
        if len(part) < row_bytes * height:
            raise BadRow("truncated", "the file ends before its last row of pixels")
        samples = part.reshape(height, row_bytes)[:, 1:]
        samples[:] = samples.reshape(height, -1, 2)[:, :, ::-1].reshape(height, -1)
        at += row_bytes * height
    return replace(png, packed=zlib.compress(rows.tobytes(), 0))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name, body and completeness of each chunk; a truncated chunk has a shorter body."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        size_bytes = int.from_bytes(data[at : at + 4], "big")
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size_bytes]
        end = at + 8 + size_bytes
        checksum = int.from_bytes(data[end : end + 4], "big")
        yield name, body, end + 4 <= len(data) and checksum == zlib.crc32(body, zlib.crc32(name))
        at = end + 4


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(name))
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def _passes(png: Png) -> list[tuple[int, int]]:
    """Return bytes of a row, with that of its filter, and number of rows of each pass."""
    bits = png.depth * SAMPLES[png.colour]
    passes = []
    for left, top, across, down in _PASSES if png.is_interlaced else ((0, 0, 1, 1),):
        width, height = ceil((png.width - left) / across), ceil((png.height - top) / down)
        if width > 0 and height > 0:
            passes.append((1 + ceil(width * bits / 8), height))
    return passes


def _unpacked(png: Png, passes: list[tuple[int, int]]) -> bytes:
    """Return the rows; fewer where the packed ones end too soon."""
    size_bytes = sum(row_bytes * height for row_bytes, height in passes)
    try:
        return zlib.decompressobj().decompress(png.packed, size_bytes)
    except zlib.error as error:
        raise BadRow("unreadable", "its packed pixels are damaged") from error


def _grey_row(png: Png, row_bytes: int) -> bytes:
    """Return an unfiltered scan line of gray samples, opaque if there is alpha."""
    pixel = bytes([GREY])
    if png.colour == PALETTE:
        pixel = _nearest_to_grey(png)
    elif png.colour in WITH_ALPHA:
        sample_bytes, colours = png.depth // 8, SAMPLES[png.colour] - 1
        pixel = bytes([GREY] * colours * sample_bytes + [255] * sample_bytes)
    elif png.depth < 8:
        pixel = bytes([sum(1 << bit for bit in range(png.depth - 1, 8, png.depth))])
    return b"\0" + (pixel * (row_bytes // len(pixel) + 1))[: row_bytes - 1]


def _nearest_to_grey(png: Png) -> bytes:
    """Return a byte of indices of the palette's colour that is nearest to grey."""
    colours = next((body for name, body, _ in _chunks(SIGNATURE + png.palette)), b"")
    table = np.frombuffer(colours[: len(colours) // 3 * 3], np.uint8).reshape(-1, 3)
    table = table[: 1 << png.depth]
    if not len(table):
        return b"\0"
    nearest = int(np.abs(table.astype(np.int64) - GREY).sum(1).argmin())
    return bytes([sum(nearest << shift for shift in range(0, 8, png.depth))])


def _exif_text(name: bytes, body: bytes) -> bytes:
    """Return EXIF that ImageMagick writes as hexadecimal text."""
    if not body.startswith(_RAW_EXIF):
        return b""
    text = body[len(_RAW_EXIF) :]
    if name == b"zTXt":
        text = _inflated(text[1:])
    digits = re.sub(rb"\s", b"", text.partition(b"exif")[2])
    digits = re.sub(rb"^\d{1,8}?(?=45786966)", b"", digits)
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""


def _xmp_text(name: bytes, body: bytes) -> bytes:
    if name != b"iTXt" or not body.startswith(_XMP):
        return b""
    is_packed, rest = body[len(_XMP) : len(_XMP) + 1] == b"\1", body[len(_XMP) + 2 :]
    text = rest.split(b"\0", 2)[-1]
    return _inflated(text) if is_packed else text[:_TEXT_BYTES_MAX]


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _TEXT_BYTES_MAX)
    except zlib.error:
        return b""

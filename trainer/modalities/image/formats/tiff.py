"""Reader of TIFF files that Pillow has no mode for: 16 and 32 bits, floats, any channel count.

Pillow's libtiff only decompresses: the file gets a header that describes it as 8-bit gray, as wide
as a row has bytes, and numpy reads the values from those bytes. The tags are those of TIFF 6.0.
"""

import io
import re
import struct
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from operator import add
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from trainer.data.rows import BadRow

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_PHOTOMETRIC, _DESCRIPTION, _OFFSETS, _ORIENTATION, _SAMPLES = 262, 270, 273, 274, 277
_ROWS_PER_STRIP, _SIZES, _PLANAR, _PREDICTOR, _TILE_WIDTH = 278, 279, 284, 317, 322
_TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES, _EXTRA, _FORMAT = 323, 324, 325, 338, 339
_DIFFERENCES, _FLOATS = 2, 3
"""Predictors."""
SIZES_MAX: Final = 8
"""Strips of a sound file do not overlap, nor do they reach far past its end."""
GREY: Final = b"\x80"
LOSSLESS: Final = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
"""None, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard: they unpack to the bytes as such."""
_DTYPES: Final = {
    **{(1, bits): f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(2, bits): f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(3, bits): f"f{bits // 8}" for bits in (16, 32, 64)},
}
_ALPHA, _GEO = (1, 2), 34_735
REAL_ALPHA: Final = 0.5
"""A channel that is called alpha is that if so large a share of it is see-through or opaque."""
_WHITE_IS_ZERO: Final = 0
_NO_PICTURE: Final = 0b101
"""Subfile types: smaller copies, and masks."""
_IMAGEJ: Final = re.compile(r"^(channels|slices|frames)=(\d{1,9})$", re.MULTILINE)
_OME: Final = re.compile(r'\bSize([CZT])="(\d{1,9})"')
_WORDS: Final = {"C": "channels", "Z": "slices", "T": "frames"}


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a TIFF file."""

    tags: ImageFileDirectory_v2
    width: int
    height: int
    samples: int
    dtype: str
    """Name of the numpy type, such as `u2`; empty for kinds without one."""
    orientation: int
    directory: int
    """Index of its directory in the file."""

    @property
    def has_alpha(self) -> bool:
        """Return whether the last channel is called alpha; in a GeoTIFF it is infrared."""
        extra = _numbers(self.tags, _EXTRA)
        return bool(extra) and extra[-1] in _ALPHA and _GEO not in self.tags

    @property
    def needs_array(self) -> bool:
        """Return whether Pillow would refuse it, or keep less than all of its values."""
        is_grey = int(self.tags.get(_PHOTOMETRIC, 1)) in (0, 1)
        bands = self.samples > 4 or (is_grey and self.samples > 1 and not self.has_alpha)
        return self.dtype not in ("", "u1") or (bands and bool(self.dtype))

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the values, with those of tiles that reach past the edges."""
        across = int(self.tags.get(_TILE_WIDTH, 0)) or self.width
        down = int(self.tags.get(_TILE_HEIGHT, 0)) or self.height
        width = ceil(self.width / across) * across
        height = ceil(self.height / down) * down
        return width * height * self.samples * (np.dtype(self.dtype).itemsize if self.dtype else 1)

    def words(self) -> str:
        """Return channels and type for people, such as `13 bands of uint16`."""
        kind = np.dtype(self.dtype).name if self.dtype else f"{self.tags.get(_BITS)} bits"
        return f"{self.samples} band{'s' if self.samples > 1 else ''} of {kind}"


def pages(data: bytes, *, most: int) -> list[Page]:
    """Return the pictures of a file in order, at most `most`, without thumbnails and masks."""
    kept: list[Page] = []
    visited: set[int] = set()
    directory = ImageFileDirectory_v2(data[:16] if data[2:3] in b"+" else data[:8])
    file, offset = io.BytesIO(data), directory.next
    while offset and offset not in visited and len(kept) < most:
        visited.add(offset)
        tags = ImageFileDirectory_v2(data[:16] if data[2:3] in b"+" else data[:8])
        file.seek(offset)
        tags.load(file)
        offset = tags.next
        if kept and int(tags.get(_SUBFILE, 0)) & _NO_PICTURE:
            continue
        kept.append(_page(tags, len(visited) - 1))
    return kept


def axes_of(page: Page) -> str:
    """Return the axes of a file from ImageJ or OME metadata, such as `3 channels x 10 slices`."""
    text = str(page.tags.get(_DESCRIPTION, ""))[:20_000]
    axes: dict[str, int] = {}
    if text.startswith("ImageJ="):
        axes = {name: int(size) for name, size in _IMAGEJ.findall(text)}
    elif "<OME" in text:
        axes = {_WORDS[name]: int(size) for name, size in _OME.findall(text)}
    return " x ".join(f"{size} {name}" for name, size in axes.items() if size > 1)


def array_of(data: bytes, page: Page) -> tuple[NDArray[Any], bool]:
    """Return [H, W] or [H, W, C] with the file's values, and whether the file is cut off.

    Low values are dark; what is missing of unpacked pixels is grey. Raises BadRow.
    """
    tags = page.tags
    compression = int(tags.get(_COMPRESSION, 1))
    if not page.dtype or compression not in LOSSLESS:
        raise BadRow(
            "wrong_type", f"{page.words()}, packed by method {compression}, cannot be read"
        )
    planes = page.samples if int(tags.get(_PLANAR, 1)) == 2 else 1
    parts = [_plane(data, page, plane, planes) for plane in range(planes)]
    values = parts[0] if planes == 1 else np.concatenate(parts, axis=2)
    if int(tags.get(_PHOTOMETRIC, 1)) == _WHITE_IS_ZERO and values.dtype.kind in "ui":
        values = ~values
    is_cut = max(map(add, *_places(tags))) > len(data)
    return (values[:, :, 0] if page.samples == 1 else values), is_cut


def looks_like_alpha(values: NDArray[Any]) -> bool:
    """Return whether most of a channel is see-through or opaque: alpha is, infrared is not."""
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    return float(np.mean((values == 0) | (values == top))) >= REAL_ALPHA


def _page(tags: ImageFileDirectory_v2, directory: int) -> Page:
    samples = int(tags.get(_SAMPLES, 1))
    bits = {int(value) for value in tags.get(_BITS, (1,))}
    formats = {int(value) for value in tags.get(_FORMAT, (1,))}
    kind = (formats.pop(), bits.pop()) if len(formats) == len(bits) == 1 else (0, 0)
    orientation = tags.get(_ORIENTATION, 1)
    return Page(
        tags=tags,
        width=int(tags.get(_WIDTH, 0)),
        height=int(tags.get(_HEIGHT, 0)),
        samples=samples,
        dtype=_DTYPES.get(kind, ""),
        orientation=orientation if isinstance(orientation, int) else 1,
        directory=directory,
    )


def _plane(data: bytes, page: Page, plane: int, planes: int) -> NDArray[Any]:
    """Return the values of one plane, [H, W, samples of the plane]."""
    samples, dtype = page.samples // planes, np.dtype(page.dtype)
    width = int(page.tags.get(_TILE_WIDTH, 0)) or page.width
    columns = ceil(page.width / width)
    rows = _unpacked(data, page, columns * width * samples * dtype.itemsize, plane, planes)
    # Predictors work on each row of a tile or a strip separately.
    parts = rows.reshape(page.height, columns, -1)
    predictor = int(page.tags.get(_PREDICTOR, 1))
    if predictor == _FLOATS:
        values = _from_float_planes(parts, samples, dtype)
    else:
        swapped = dtype.newbyteorder("<" if data[:2] == b"II" else ">")
        values = parts.view(swapped).astype(dtype)
    values = values.reshape(page.height, columns, width, samples)
    if predictor == _DIFFERENCES:
        unsigned = values.view(f"u{dtype.itemsize}")
        np.cumsum(unsigned, axis=2, dtype=unsigned.dtype, out=unsigned)
    return values.reshape(page.height, columns * width, samples)[:, : page.width]


def _from_float_planes(
    parts: NDArray[np.uint8], samples: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Undo differences of bytes, then gather each value's bytes, highest first."""
    height, columns, size = parts.shape
    summed = np.cumsum(parts.reshape(height, columns, -1, samples), axis=2, dtype=np.uint8)
    planes = summed.reshape(height, columns, dtype.itemsize, size // dtype.itemsize)
    values = np.ascontiguousarray(planes.swapaxes(2, 3)).view(dtype.newbyteorder(">"))
    return values.astype(dtype)


def _unpacked(
    data: bytes, page: Page, row_bytes: int, plane: int, planes: int
) -> NDArray[np.uint8]:
    """Return the bytes of a plane's rows, [H, bytes of whole tiles or of a row]."""
    offsets, sizes = _places(page.tags)
    count = len(offsets) // planes
    part = slice(plane * count, (plane + 1) * count)
    if not count or len(sizes) != len(offsets) or sum(sizes) > SIZES_MAX * len(data):
        raise BadRow("unreadable", "its table of strips or tiles is damaged")
    pieces = [data[at : at + size] for at, size in zip(offsets[part], sizes[part], strict=True)]
    if int(page.tags.get(_COMPRESSION, 1)) == 1:
        pieces = [piece.ljust(size, GREY) for piece, size in zip(pieces, sizes[part], strict=True)]
    file = _grey_file(page, pieces, row_bytes)
    with Image.open(io.BytesIO(file), formats=("TIFF",)) as image:
        return np.asarray(image)


def _grey_file(page: Page, pieces: list[bytes], row_bytes: int) -> bytes:
    """Return an 8-bit gray TIFF with rows made of the bytes of the page's rows."""
    tags = page.tags
    fields = {
        **{_WIDTH: [row_bytes], _HEIGHT: [page.height], _BITS: [8], _PHOTOMETRIC: [1]},
        **{_COMPRESSION: [int(tags.get(_COMPRESSION, 1))], _SAMPLES: [1]},
    }
    lengths = [len(piece) for piece in pieces]
    if _TILE_WIDTH in tags:
        fields[_TILE_WIDTH] = [row_bytes // ceil(page.width / int(tags[_TILE_WIDTH]))]
        fields |= {_TILE_HEIGHT: [int(tags[_TILE_HEIGHT])], _TILE_SIZES: lengths}
    else:
        height = min(int(tags.get(_ROWS_PER_STRIP, page.height)), page.height)
        fields |= {_ROWS_PER_STRIP: [height], _SIZES: lengths}
    offsets_tag = _TILE_OFFSETS if _TILE_WIDTH in tags else _OFFSETS
    start = len(_directory(fields | {offsets_tag: lengths}))
    offsets = [start + before for before in accumulate([0, *lengths[:-1]])]
    return b"".join((_directory(fields | {offsets_tag: offsets}), *pieces))


def _directory(fields: dict[int, list[int]]) -> bytes:
    """Return the head of a file and its only directory, every value of 32 bits."""
    values_at = 8 + 2 + 12 * len(fields) + 4
    entries, values = [], b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        entries.append(struct.pack("<HHI", tag, 4, len(numbers)))
        entries.append(packed if len(numbers) == 1 else struct.pack("<I", values_at + len(values)))
        values += packed if len(numbers) > 1 else b""
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return b"".join((head, *entries, bytes(4), values))


def _places(tags: ImageFileDirectory_v2) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where strips or tiles begin, and how long they are."""
    is_tiled = _TILE_WIDTH in tags
    at, sizes = (_TILE_OFFSETS, _TILE_SIZES) if is_tiled else (_OFFSETS, _SIZES)
    return _numbers(tags, at), _numbers(tags, sizes)


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (int(value),)

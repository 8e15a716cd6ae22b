"""Orientation out of EXIF and XMP, read alone so that damage elsewhere in them does no harm."""

import re
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TAG: Final = 0x0112
XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\b")
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TYPES: Final = {1: "B", 3: "H", 4: "I"}


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation, 1 to 8; 1 where none can be read. EXIF counts before XMP."""
    orientation = _exif_orientation(exif)
    if orientation is None and (match := XMP.search(xmp)):
        orientation = int(match[1])
    return orientation or 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as its orientation asks."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def upright_array(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn [H, W] or [H, W, C] as its orientation asks."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _exif_orientation(exif: bytes) -> int | None:
    """Look for the one tag in the first directory of a TIFF header."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == TAG and kind in _TYPES:
                (value,) = struct.unpack_from(order + _TYPES[kind], exif, entry + 8)
                return int(value) if 1 <= value <= 8 else None
    except struct.error:
        return None
    return None

"""Reader of 16-bit PGM and PPM files that keeps their values; Pillow rescales them."""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.rows import BadRow

_GAP: Final = rb"(?:\s|#[^\n\r]*[\n\r])+"
_COMMENT: Final = re.compile(rb"#[^\n\r]*")
_HEADER: Final = re.compile(
    rb"P([2356])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s"
)


def deep_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a file of more than 8 bits; None of any other."""
    header = _HEADER.match(data[:4096])
    is_deep = header is not None and 255 < int(header[4]) < 65_536
    return (int(header[2]), int(header[3])) if header and is_deep else None


def array_of(data: bytes, *, keep_truncated: bool) -> tuple[NDArray[Any], bool]:
    """Return u16 [H, W] or [H, W, 3], and whether its end is missing and grey. Raises BadRow."""
    header = _HEADER.match(data[:4096])
    assert header is not None
    samples = 1 if header[1] in b"25" else 3
    width, height, largest = (int(header[group]) for group in (2, 3, 4))
    count = width * height * samples
    values = np.full(count, largest // 2, np.uint16)
    if header[1] in b"23":
        words = _COMMENT.sub(b"", data[header.end() :]).split()[:count]
        whole = np.array([int(word) for word in words], np.uint16)
    else:
        raw = data[header.end() : header.end() + 2 * count]
        whole = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2")
    if len(whole) < count and (not keep_truncated or not len(whole)):
        raise BadRow("truncated", f"{len(whole)} of its {count} values are there")
    values[: len(whole)] = whole
    shape = (height, width) if samples == 1 else (height, width, samples)
    return values.reshape(shape), len(whole) < count

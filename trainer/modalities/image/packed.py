"""Images of a pack: one by one, or together as one array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import COUNTS, Pack, damaged_pack, map_file
from trainer.modalities.image.jpeg_rows import pixels_of


def image_of(pack: Pack, row: int) -> NDArray[Any]:
    """Return the values of a row, [height, width, channels]: memory-mapped, or decoded.

    They are u8, or u16 where the facts say so. Raises DataError.
    """
    shape = (*pack.size(row), pack.channels)
    stored = pack.row_bytes(row)
    if pack.facts.stored_as == "pixels":
        return stored.view(pack.dtype).reshape(shape)
    try:
        return pixels_of(stored.data).reshape(shape)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged_pack(pack.folder, f"row {row} cannot be decoded") from error


def counts_of(pack: Pack) -> NDArray[np.int64]:
    """Return the histogram of each channel, int64 [channels, 256 or 65536]."""
    levels = 256**pack.dtype.itemsize
    path = pack.folder / COUNTS
    if path.is_file():
        return map_file(path, np.dtype("<i8")).reshape(pack.channels, levels)
    counts = np.zeros((pack.channels, levels), np.int64)
    for row in range(pack.rows):
        counts += counted(image_of(pack, row), levels)
    return counts


def counted(image: NDArray[Any], levels: int) -> NDArray[np.int64]:
    """Return the histogram of each channel of [..., C]: int64 [C, levels]."""
    flat = image.reshape(-1, image.shape[-1])
    channels = range(flat.shape[1])
    return np.stack([np.bincount(flat[:, channel], minlength=levels) for channel in channels])


def gather_flat(
    out: NDArray[Any], starts: NDArray[np.int64], pack: Pack, rows: NDArray[np.int64]
) -> None:
    """Copy rows one after another into pixels [P, C]; each begins at its start."""
    for start, row in zip(starts, rows, strict=True):
        pixels = image_of(pack, int(row)).reshape(-1, pack.channels)
        out[start : start + len(pixels)] = pixels


def gather_into(out: NDArray[Any], pack: Pack, rows: NDArray[np.int64]) -> None:
    """Copy rows to the upper left corners of zeroed images, [B, H, W, C]."""
    if pack.is_uniform:
        np.take(pack.grid(), rows, axis=0, out=out, mode="clip")
        return
    for target, row in zip(out, rows, strict=True):
        image = image_of(pack, int(row))
        target[: image.shape[0], : image.shape[1]] = image

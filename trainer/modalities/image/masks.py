"""Masks: pictures of the size of a row that say of each pixel what it shows."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.rows import BadRow
from trainer.modalities.image.decoded import Decoded
from trainer.schema.choices import MASK_CLASSES_MAX, MASK_MIDDLE
from trainer.schema.events import DataWarning

FORMATS = ("PNG", "BMP", "TIFF", "GIF", "PPM", "JPEG", "WEBP")
SIDE_TOLERANCE = 0.02


class _BadMask(Exception):
    """Mask that cannot be used; the message gives the reason."""


def with_mask(row: Decoded, load: Callable[[], bytes]) -> Decoded:
    """Return a row with its mask in the row's size, values as they are, or with what is wrong.

    A palette's mask has the numbers of the colors; alpha is left out.
    """
    try:
        mask = _mask(row, load())
    except (_BadMask, BadRow) as error:
        return replace(row, mask_fault=f"its mask cannot be used: {error}")
    return replace(row, mask=mask, more=tuple(replace(page, mask=mask) for page in row.more))


def _mask(row: Decoded, data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, row)
            values = np.asarray(image)
    except _BadMask:
        raise
    # A decoder fed with hostile bytes may raise anything; none of it may end the ingest.
    except Exception as error:
        raise _BadMask("it is no picture") from error
    if values.ndim == 3:
        values = _gray(values)
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.min() < 0 or values.max() > 255:
        raise _BadMask("it has values outside 0 to 255")
    mask = Image.fromarray(np.ascontiguousarray(values, np.uint8))
    return mask.resize((row.width, row.height), Image.Resampling.NEAREST).tobytes()


def mask_warnings(counts: NDArray[np.int64]) -> Iterator[DataWarning]:
    """Yield a warning if masks have too many values for classes; `counts` [256] has the pixels."""
    values = int(np.count_nonzero(counts))
    if values > MASK_CLASSES_MAX:
        yield DataWarning(
            code="mask_values",
            message=f"Masks have {values} different values, as smoothed or JPEG masks have.",
            hint="Save them as PNG with the number of its class in each pixel. Segmentation takes "
            f"values from {MASK_MIDDLE} as one class, and the others as background.",
        )


def _gray(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the channel that all are equal to, without alpha. Raises _BadMask for colors."""
    first = values[:, :, 0]
    colors = values[:, :, : 1 if values.shape[2] == 2 else 3]
    if not (colors == first[:, :, None]).all():
        raise _BadMask(
            "it has colors; give each pixel the number of its class, in gray or by a palette"
        )
    return first


def _check_size(image: Image.Image, row: Decoded) -> None:
    """Raise _BadMask for a mask of another size or shape than the image had."""
    width, height = image.size
    stretch = width * row.height / (height * row.width)
    tolerance = SIDE_TOLERANCE + 1 / min(row.width, row.height)
    if min(width, height) != row.sent_side_px or abs(stretch - 1) > tolerance:
        raise _BadMask(f"it has {width} x {height} pixels, another size than the image")

"""Images in an array of numpy: [N, H, W], [N, H, W, C] or [N, C, H, W]."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.readers.items import Limits
from trainer.data.spec import CHANNELS_MAX
from trainer.schema.errors import DataError

CHANNELS = (1, 3, 4)
HINT = "Save an array [N, H, W] or [N, H, W, 3] with numpy.save(..., allow_pickle=False)."
ONE_IMAGE = "one image? save [1, H, W, 3]"


def images_in(
    array: NDArray[Any], name: str, limits: Limits, *, alone: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the images of an array with a name for each row. Raises DataError.

    `alone`: the array is the whole dataset, so it holds several images; else an array of shape
    [H, W] or [H, W, 3] is one image.
    """
    images = _as_images(array, name, alone=alone)
    check_sides(name, images.shape[1:3], limits)
    if images.nbytes > limits.total_bytes:
        detail = f"{name} has {images.nbytes} bytes; total_bytes_max is {limits.total_bytes}."
        raise DataError(detail, hint="Raise total_bytes_max, or send it in parts.")
    if len(images) > limits.entries:
        detail = f"{name} holds {len(images)} rows; entries_max is {limits.entries}."
        raise DataError(detail, hint="Raise entries_max, or send it in parts.")
    for row, image in enumerate(images):
        is_only = array.ndim == images.ndim - 1 or (len(images) == 1 and not alone)
        yield name if is_only else f"{name}#{row}" if not alone else f"{row:09d}", image


def check_sides(name: str, sides: tuple[int, ...], limits: Limits) -> None:
    """Raise DataError if the images of a file, of one height and width, have too many pixels."""
    height, width = sides
    if height * width > limits.pixels:
        raise DataError(
            f"{name} holds images of {height} x {width} pixels; pixels_max is {limits.pixels}.",
            hint="Raise pixels_max, or shrink the images first.",
        )


def _as_images(array: NDArray[Any], name: str, *, alone: bool) -> NDArray[Any]:
    """Return it as [N, H, W] or [N, H, W, C]. Channels come last if both ends could be channels."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}, which is no number.", hint=HINT)
    shape = array.shape
    is_one = array.ndim == 2 or (array.ndim == 3 and shape[2] in CHANNELS)
    if is_one and not alone:
        return array[np.newaxis]
    if is_one:
        raise DataError(f"{name} has the shape {list(shape)}: {ONE_IMAGE}.", hint=HINT)
    is_first = array.ndim == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS
    if array.ndim == 3 or (array.ndim == 4 and 1 <= shape[3] <= CHANNELS_MAX and not is_first):
        return array
    if array.ndim == 4 and 1 <= shape[1] <= CHANNELS_MAX:
        return array.transpose(0, 2, 3, 1)
    raise DataError(f"{name} has the shape {list(shape)}, not that of images.", hint=HINT)

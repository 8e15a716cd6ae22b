"""From the bytes of one image file to RGB pixels, or to the reason why not."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.formats.pictures import Picture, check_size, pictures_of, shrink_of
from trainer.data.rows import BadImage, Decoded
from trainer.ingest_options import IngestOptions


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Silence Pillow's warnings, and leave the limit on pixels to `check_size`.

    Both belong to the process: enter it before the threads that decode start.
    """
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def decode_file(data: bytes, options: IngestOptions) -> Decoded:
    """Decode an image file, upright and shrunk to `side_px_max`; `more` holds further pages.

    Raises BadImage.
    """
    first, *more = (_row(picture, options) for picture in pictures_of(data, options))
    return replace(first, more=tuple(more))


def decode_array(array: NDArray[Any], options: IngestOptions) -> Decoded:
    """One row of an array, [H, W] or [H, W, C] with C of 1, 3 or 4, u8, u16 or float in [0, 1]."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    height, width = array.shape[:2]
    if not height or not width:
        raise BadImage("empty", "the row has no pixels")
    check_size(width, height, options)
    return _finished(_image_of(array), options.side_px_max, sent_side_px=min(height, width))


def _row(picture: Picture, options: IngestOptions) -> Decoded:
    pixels = picture.pixels
    image = _image_of(pixels) if isinstance(pixels, np.ndarray) else pixels
    row = _finished(image, options.side_px_max, sent_side_px=picture.sent_side_px)
    return replace(
        row,
        is_truncated=picture.is_truncated,
        pages_left_out=picture.pages_left_out,
        told=picture.told,
        window=picture.window,
    )


def _image_of(array: NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(_levels(array)))


def _finished(image: Image.Image, side_px_max: int, *, sent_side_px: int) -> Decoded:
    image = _rgb(image)
    shrink = shrink_of(*image.size, side_px_max)
    if shrink < 1.0:
        width, height = (max(1, round(side * shrink)) for side in image.size)
        # Pillow's filters widen with the shrink factor, so they do not alias.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return Decoded(image.tobytes(), image.height, image.width, sent_side_px)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 bits scaled to 8, see-through pixels laid on white."""
    if image.mode == "RGB":
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_levels(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of any supported type as u8."""
    if values.dtype == np.uint8:
        return values
    low, high = (float(edge) for edge in (values.min(), values.max()))
    if values.dtype.kind == "f":
        if not 0.0 <= low <= high <= 1.0:
            raise BadImage("wrong_type", f"values in [{low:g}, {high:g}], not in [0, 1]")
        levels = np.rint(values.astype(np.float64) * 255.0)
    else:
        if not 0 <= low <= high <= 65_535:
            raise BadImage("wrong_type", f"values in [{low:g}, {high:g}], not 16 bits")
        levels = np.rint(values / 257.0)
    as_u8: NDArray[np.uint8] = levels.astype(np.uint8)
    return as_u8

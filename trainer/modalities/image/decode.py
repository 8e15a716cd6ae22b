"""Decode the bytes of one image file into the pixels of a row, or raise the reason."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.readers.items import Content
from trainer.data.rows import BadRow
from trainer.data.spec import IngestOptions
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.formats.pictures import Picture, check_size, pictures_of
from trainer.modalities.image.raster import Raster, finished

PAGES_BYTES, PAGES_RATIO = 16 * 1024**2, 4
"""Limit for the rows of one file: bytes, and further bytes per byte of the file."""


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Silence Pillow's warnings and disable its pixel limit in favor of `check_size`.

    Both settings are process-wide: enter it before decoding threads start.
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

    Pages are held until the next file: of a small file that unpacks to many, some are left out.
    Raises BadRow.
    """
    room_bytes = PAGES_BYTES + PAGES_RATIO * len(data)
    rows: list[Decoded] = []
    left_out = 0
    for picture in pictures_of(data, options):
        row = _row(picture, options)
        room_bytes -= len(row.pixels)
        left_out += row.pages_left_out
        if room_bytes >= 0 or not rows:
            rows.append(row)
        else:
            left_out += 1
    return replace(rows[0], more=tuple(rows[1:]), pages_left_out=left_out)


def decode_content(content: Content, options: IngestOptions) -> Decoded:
    """Decode an image file, or one image of an array. Raises BadRow."""
    if isinstance(content, np.ndarray):
        return decode_array(content, options)
    return decode_file(content, options)


def decode_array(array: NDArray[Any], options: IngestOptions) -> Decoded:
    """Return one row of an array, [H, W] or [H, W, C], of bools, whole numbers or floats."""
    values = array[:, :, None] if array.ndim == 2 else array
    height, width = values.shape[:2]
    if not height or not width:
        raise BadRow("empty", "the row has no pixels")
    check_size(width, height, options)
    return finished(Raster(values), options)


def _row(picture: Picture, options: IngestOptions) -> Decoded:
    sent_px = (picture.sent_side_px, picture.sent_long_px)
    row = finished(_raster(picture, options), options, sent_px=sent_px)
    return replace(
        row,
        is_truncated=picture.is_truncated,
        pages_left_out=picture.pages_left_out,
        axes=picture.axes,
        window=picture.window,
    )


def _raster(picture: Picture, options: IngestOptions) -> Raster:
    pixels, has_alpha = picture.pixels, picture.has_alpha
    if isinstance(pixels, Image.Image):
        is_deep = pixels.mode == "F" or pixels.mode.startswith("I")
        values = np.asarray(pixels if is_deep else _plain(pixels, options))
    else:
        values = pixels
    return Raster(values[:, :, None] if values.ndim == 2 else values, has_alpha)


def _plain(image: Image.Image, options: IngestOptions) -> Image.Image:
    """Convert any 8-bit mode to RGB, or to gray if one channel is requested."""
    mode = "L" if options.channels == 1 else "RGB"
    if image.mode == mode:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if options.channels == 4:
            return image
        image = _on_white(image, options)
    return image.convert(mode)


def _on_white(image: Image.Image, options: IngestOptions) -> Image.Image:
    """Return colors on white where alpha differs between pixels, else the colors as they are."""
    low, high = image.getchannel("A").getextrema()
    if options.alpha == "drop" or low == high:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)

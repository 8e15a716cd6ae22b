"""From the bytes of one image file to RGB pixels, or to the reason why not."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.data.rows import BadImage, Decoded
from trainer.ingest_options import IngestOptions

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
ASPECT_MAX = 4
"""A longer side is shrunk to so many times the limit of the shorter one: canvases stay small."""
MAGICS = (
    b"\xff\xd8\xff", b"\x89PNG", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"BM", b"II*\0",
    b"MM\0*", b"RIFF",
)  # fmt: skip
ORIENTATION_KEYS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Silence Pillow's warnings, and leave the limit on pixels to `_check_size`.

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
    """Decode an image file, upright, as RGB, shrunk to `side_px_max`. Raises BadImage."""
    side_px_max = options.side_px_max
    if not data:
        raise BadImage("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size, options)
            sent_side_px = min(image.size)
            upright = _upright(_loaded(image, side_px_max))
            return _finished(upright, side_px_max, sent_side_px=sent_side_px)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    # A decoder fed with hostile bytes may raise anything; none of it may end the ingest.
    except Exception as error:
        raise BadImage(_reason(error), str(error)[:200] or type(error).__name__) from error


def decode_array(array: NDArray[Any], options: IngestOptions) -> Decoded:
    """One row of an array, [H, W] or [H, W, C] with C of 1, 3 or 4, u8, u16 or float in [0, 1]."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    height, width = array.shape[:2]
    if not height or not width:
        raise BadImage("empty", "the row has no pixels")
    _check_size(width, height, options)
    image = Image.fromarray(np.ascontiguousarray(_levels(array)))
    return _finished(image, options.side_px_max, sent_side_px=min(height, width))


def _check_size(width: int, height: int, options: IngestOptions) -> None:
    if width * height > options.pixels_max:
        detail = f"{width} x {height} pixels; pixels_max is {options.pixels_max}"
        raise BadImage("oversize", detail)


def _loaded(image: Image.Image, side_px_max: int) -> Image.Image:
    """The pixels of a file. A large JPEG is decoded at a half, a quarter or an eighth of its size.

    At least two decoded pixels remain for each stored one, so the filter that follows still has
    what it averages.
    """
    if image.format == "JPEG":
        shrink = _shrink(*image.size, side_px_max) * 2.0
        if shrink < 1.0:
            image.draft(None, (round(image.width * shrink), round(image.height * shrink)))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "TIFF" or any(key in image.info for key in ORIENTATION_KEYS):
        return ImageOps.exif_transpose(image)
    return image


def _finished(image: Image.Image, side_px_max: int, *, sent_side_px: int) -> Decoded:
    image = _rgb(image)
    shrink = _shrink(*image.size, side_px_max)
    if shrink < 1.0:
        width, height = (max(1, round(side * shrink)) for side in image.size)
        # Pillow's filters widen with the shrink factor, so they do not alias.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return Decoded(image.tobytes(), image.height, image.width, sent_side_px)


def _shrink(width: int, height: int, side_px_max: int) -> float:
    short, long = sorted((width, height))
    return min(1.0, side_px_max / short, ASPECT_MAX * side_px_max / long)


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


def _unidentified(data: bytes) -> BadImage:
    if data.startswith(MAGICS):
        return BadImage("unreadable", "it begins like an image and goes on like none")
    return BadImage("wrong_type", f"the content is none of {', '.join(FORMATS)}")


def _reason(error: Exception) -> str:
    text = str(error).lower()
    return "truncated" if isinstance(error, EOFError) or "truncated" in text else "unreadable"

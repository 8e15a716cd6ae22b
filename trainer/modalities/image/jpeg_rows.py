"""Rows kept as JPEG: about a tenth of the bytes of their pixels, decoded whenever they are read."""

import io
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from trainer.modalities.image.decoded import Decoded

JPEG_CHANNELS: Final = (1, 3)

QUALITY: Final = 90
"""libjpeg quality, with chroma at half the resolution, as in FFCV's ImageNet."""


def as_jpeg(row: Decoded) -> Decoded:
    """Return the row with its JPEG, and with the pixels that come out of that."""
    mode = "L" if row.channels == 1 else "RGB"
    image = Image.frombytes(mode, (row.width, row.height), row.pixels)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY)
    jpeg = written.getvalue()
    return replace(row, jpeg=jpeg, pixels=pixels_of(jpeg).tobytes())


def pixels_of(jpeg: bytes | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG, u8 [height, width, 3], or [height, width] of a gray one.

    Raises OSError or SyntaxError for anything else.
    """
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return np.asarray(image)


def decoder() -> str:
    """Return the version of libjpeg in Pillow, on which the pixels depend as well."""
    turbo = features.version_feature("libjpeg_turbo")
    return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"

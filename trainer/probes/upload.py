"""An image that someone sent to be compared, under the limits of the ingest."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.images import FORMATS, decode_file, strict_pillow
from trainer.data.rows import BadImage
from trainer.errors import BadProbe
from trainer.ingest_options import USUAL

BYTES_MAX = 20_000_000
MOVING = frozenset({"PNG", "WEBP", "TIFF"})
"""Formats whose files may hold several pictures. A JPEG of a phone may too: its first counts."""
WORDS = {
    "empty": "The file is empty.",
    "oversize": "The picture is too large:",
    "truncated": "The file ends too early:",
    "unreadable": "The file is damaged:",
    "wrong_type": "The file is no picture that can be read:",
}


def decode_upload(path: Path) -> NDArray[np.uint8]:
    """u8 [H, W, 3], upright and shrunk just as a row of a dataset. Raises BadProbe."""
    size_bytes = path.stat().st_size
    if size_bytes > BYTES_MAX:
        raise BadProbe(f"The file has {size_bytes} bytes, the limit is {BYTES_MAX}.")
    data = path.read_bytes()
    try:
        with strict_pillow():
            if pictures_in(data) > 1:
                raise BadProbe("The file is animated or holds several pictures: send one of them.")
            found = decode_file(data, USUAL)
    except BadImage as bad:
        why = WORDS.get(bad.reason, "The file cannot be used:")
        raise BadProbe(why if bad.reason == "empty" else f"{why} {bad.detail}.") from bad
    pixels = np.frombuffer(found.pixels, np.uint8)
    return pixels.reshape(found.height, found.width, 3)


def pictures_in(data: bytes) -> int:
    """How many pictures a file of a format that may move holds; 1 of any other, or a broken one."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return int(getattr(image, "n_frames", 1)) if image.format in MOVING else 1
    # What is wrong with the file is told by whoever decodes it.
    except Exception:
        return 1

"""An image that someone sent to be compared, under the limits of the ingest."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.images import decode_file, strict_pillow
from trainer.data.rows import BadImage
from trainer.errors import BadProbe
from trainer.ingest_options import USUAL

BYTES_MAX = 20_000_000
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
            found = decode_file(data, USUAL)
    except BadImage as bad:
        why = WORDS.get(bad.reason, "The file cannot be used:")
        raise BadProbe(why if bad.reason == "empty" else f"{why} {bad.detail}.") from bad
    if found.pages_left_out or found.more:
        raise BadProbe("The file is animated or holds several pictures: send one of them.")
    pixels = np.frombuffer(found.pixels, np.uint8)
    return pixels.reshape(found.height, found.width, 3)

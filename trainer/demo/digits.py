"""scikit-learn's handwritten digits as PNG files in a zip, one folder for each class.

1,797 images of 8x8 pixels with 17 levels of grey, from the test part of the UCI set "Optical
Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, CC BY 4.0). They are made four
times as large, so that a crop can begin between two of their pixels.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIDE_PX = 32
LEVELS = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, so that the zip has the same bytes each time."""


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All digits u8 [1797, 8, 8] in 0..255, and their classes int64 [1797]."""
    digits = load_digits()
    pixels = np.round(digits.images * (255.0 / LEVELS)).astype(np.uint8)
    return pixels, digits.target.astype(np.int64)


def file_name(row: int, label: int) -> str:
    """Return the path of image `row` in the zip."""
    return f"{label}/digit-{row:04d}.png"


def enlarged(image: NDArray[np.uint8]) -> Image.Image:
    """An image u8 [8, 8] as 32x32 pixels."""
    return Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def write_zip(out: Path) -> int:
    """Write all digits to `out`; the number of images."""
    pixels, labels = images()
    draft = out.with_suffix(".tmp")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            png = io.BytesIO()
            enlarged(image).save(png, "PNG")
            entry = zipfile.ZipInfo(file_name(row, int(label)), _EPOCH)
            archive.writestr(entry, png.getvalue())
    draft.replace(out)
    return len(labels)

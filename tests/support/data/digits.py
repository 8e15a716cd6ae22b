"""Real images that need no download: the handwritten digits of scikit-learn, as PNG files."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, *, first: int, count: int, side_px: int = 16) -> Path:
    """Digits `first` to `first + count` as grey PNG files, in one folder for each digit."""
    images, labels = load_digits(return_X_y=True)
    for row in range(first, first + count):
        pixels = np.rint(images[row].reshape(8, 8) * (255 / 16)).astype(np.uint8)
        path = folder / str(labels[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BICUBIC).save(path)
    return folder

"""Raw pixels, the baseline that an encoder has to beat."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.suites.breadth.figures import Values


def raw_pixels(archive: Path, side_px: int) -> tuple[tuple[str, ...], Values]:
    """Return the names and gray values in 0..1 of an archive's images by name, [N, side_px^2]."""
    names, rows = [], []
    with zipfile.ZipFile(archive) as images:
        for name in sorted(images.namelist()):
            if name.endswith((".png", ".jpg")):
                names.append(name)
                rows.append(_gray(images.read(name), side_px))
    return tuple(names), np.stack(rows)


def _gray(content: bytes, side_px: int) -> Values:
    with Image.open(io.BytesIO(content)) as image:
        small = image.convert("L").resize((side_px, side_px), Image.Resampling.BILINEAR)
        return np.asarray(small, np.float64).ravel() / 255.0


def unit(values: Values) -> Values:
    """Return rows of length 1."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12))


def nearest_label(
    queries: Values, gallery: Values, labels: NDArray[np.str_], *, is_same: bool = False
) -> NDArray[np.str_]:
    """Return the label of the gallery row most similar to each query, by cosine.

    `is_same`: the gallery is that of the queries, and none finds itself.
    """
    similarity = unit(queries) @ unit(gallery).T
    if is_same:
        np.fill_diagonal(similarity, -np.inf)
    nearest: NDArray[np.str_] = labels[similarity.argmax(axis=1)]
    return nearest

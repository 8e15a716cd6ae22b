"""Packs of made-up rows for the jobs on the pretend GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.data.ingest import ingested
from tests.support.data.tiny_pack import add_masks, blobs, write_pack

ROWS, SIDE_PX, CLASSES = 70, 16, ("a", "b", "c")


def _grid(folder: Path) -> Path:
    images, labels = blobs(ROWS, side_px=SIDE_PX, classes=len(CLASSES))
    write_pack(folder / "pack", images, labels, classes=CLASSES)
    add_masks(folder / "pack", 255 * (images[..., 0] > images[..., 1]).astype(np.uint8))
    return folder / "pack"


def _many_sizes(folder: Path) -> Path:
    """Rows of two heights: one batch of an epoch has another shape than the others."""
    images, _ = blobs(ROWS, side_px=SIDE_PX, classes=len(CLASSES))
    write_pack(folder / "pack", [images[0], *(image[:12] for image in images[1:])])
    return folder / "pack"


def _deep(folder: Path) -> Path:
    """Rows of two channels and 16 bits."""
    values = np.random.default_rng(0).normal(1200, 200, (ROWS, SIDE_PX, SIDE_PX, 2))
    np.save(folder / "rows.npy", values.clip(0, 4095).astype("uint16"))
    return ingested(folder / "rows.npy", folder / "ingest", channels=2).pack.folder


PACKS: dict[str, Callable[[Path], Path]] = {
    "image": _grid,
    "sizes": _many_sizes,
    "deep": _deep,
}
"""Writers of a pack by its name; one of them is named after each modality."""

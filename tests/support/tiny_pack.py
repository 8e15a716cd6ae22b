"""Packs of made-up images, written straight in the pack's format."""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack import (
    INDEX,
    INDEX_FILE,
    META,
    NAMES,
    PIXELS,
    REPORT,
    VERSION,
    manifest_sha256,
)
from trainer.events import DatasetFacts


def blobs(
    rows: int, *, side_px: int, classes: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Noisy stripes whose direction and colour are their class: u8 [rows, side, side, 3]."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows).astype(np.int32)
    down, across = np.mgrid[:side_px, :side_px]
    angle = labels * np.pi / classes
    wave = np.cos(
        (down * np.cos(angle)[:, None, None] + across * np.sin(angle)[:, None, None]) * 1.2
        + draw.uniform(0, 6, rows)[:, None, None]
    )
    colour = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)], 1)[:, None, None]
    images = 128 + 50 * wave[..., None] + 30 * colour + draw.normal(0, 15, (*wave.shape, 3))
    return images.clip(0, 255).astype(np.uint8), labels


def write_pack(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int32] | None = None,
    *,
    classes: tuple[str, ...] = (),
) -> DatasetFacts:
    """A pack of equally large images u8 [N, H, W, 3]."""
    folder.mkdir(parents=True)
    rows, height, width, _ = images.shape
    index = np.zeros(rows, INDEX)
    index["offset"] = np.arange(rows) * height * width * 3
    index["height"], index["width"] = height, width
    index["label"] = -1 if labels is None else labels
    names = [f"{row:06d}.png\n" for row in range(rows)]
    index["name"] = np.arange(rows) * len(names[0])
    blobs_by_name = {
        PIXELS: images.tobytes(),
        INDEX_FILE: index.tobytes(),
        NAMES: "".join(names).encode(),
    }
    sums = {}
    for name, data in blobs_by_name.items():
        (folder / name).write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    (folder / REPORT).write_bytes(b"")
    mean, std = images.mean((0, 1, 2)) / 255, images.std((0, 1, 2)) / 255
    facts = DatasetFacts(
        rows=rows,
        bad_files=0,
        duplicates=0,
        labels=classes,
        side_px_min=min(height, width),
        side_px_median=min(height, width),
        side_px_max=max(height, width),
        same_size=True,
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        size_bytes=sum(map(len, blobs_by_name.values())),
        sha256=manifest_sha256(sums, classes),
    )
    meta = {"version": VERSION, "facts": facts.model_dump(mode="json"), "files": sums}
    (folder / META).write_text(json.dumps(meta))
    return facts

"""Packs of made-up images, written straight in the pack's format."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import (
    INDEX,
    INDEX_FILE,
    MASK,
    MASKED,
    META,
    NAMES,
    PIXELS,
    REPORT,
    VERSION,
    manifest_sha256,
)
from trainer.schema.events import DatasetFacts


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
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    labels: NDArray[np.int32] | None = None,
    *,
    classes: tuple[str, ...] = (),
) -> DatasetFacts:
    """A pack of images u8 [H, W, 3], of one size or not."""
    folder.mkdir(parents=True)
    rows = len(images)
    sides = np.array([image.shape[:2] for image in images])
    areas = sides.prod(axis=1)
    index = np.zeros(rows, INDEX)
    index["offset"] = np.concatenate([[0], np.cumsum(areas)[:-1]]) * 3
    index["height"], index["width"] = sides.T
    index["label"] = -1 if labels is None else labels
    names = [f"{row:06d}.png\n" for row in range(rows)]
    index["name"] = np.arange(rows) * len(names[0])
    blobs_by_name = {
        PIXELS: b"".join(image.tobytes() for image in images),
        INDEX_FILE: index.tobytes(),
        NAMES: "".join(names).encode(),
    }
    sums = {}
    for name, data in blobs_by_name.items():
        (folder / name).write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    (folder / REPORT).write_bytes(b"")
    flat = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    mean, std = flat.mean(0), flat.std(0)
    facts = DatasetFacts(
        rows=rows,
        bad_files=0,
        duplicates=0,
        labels=classes,
        side_px_min=int(sides.min()),
        side_px_median=int(np.median(sides.min(axis=1))),
        side_px_max=int(sides.max()),
        same_size=bool((sides == sides[0]).all()),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        size_bytes=sum(map(len, blobs_by_name.values())),
        sha256=manifest_sha256(sums, classes),
    )
    meta = {"version": VERSION, "facts": facts.model_dump(mode="json"), "files": sums}
    (folder / META).write_text(json.dumps(meta))
    return facts


def add_masks(
    folder: Path,
    masks: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    *,
    masked: Sequence[bool] | None = None,
) -> None:
    """Add a mask u8 [H, W] of the row's size to each row of a pack; `masked`: to some of them."""
    (folder / MASK).write_bytes(b"".join(mask.tobytes() for mask in masks))
    meta = json.loads((folder / META).read_text())
    meta["columns"] = meta.get("columns", {}) | {"mask": {"file": MASK}}
    if masked is not None:
        (folder / MASKED).write_bytes(bytes(masked))
        meta["columns"]["masked"] = {"file": MASKED}
    (folder / META).write_text(json.dumps(meta))

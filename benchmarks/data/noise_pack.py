"""Packs of noise with any number of rows, written in chunks."""

import hashlib
import json
from pathlib import Path

import numpy as np

from trainer.data.pack.format import (
    INDEX,
    INDEX_FILE,
    META,
    NAMES,
    PIXELS,
    REPORT,
    VERSION,
    manifest_sha256,
)
from trainer.schema.events import DatasetFacts

CHUNK_ROWS = 65_536
MEAN, STD = 0.5, 0.29
"""Mean and standard deviation of uniform noise in [0, 1]."""


def write_noise_pack(folder: Path, rows: int, *, side_px: int, same_size: bool) -> None:
    """Rows of side x side; unless `same_size`, each second one is a pixel lower."""
    folder.mkdir(parents=True)
    heights = np.full(rows, side_px)
    if not same_size:
        heights[1::2] -= 1
    areas = heights * side_px
    index = np.zeros(rows, INDEX)
    index["offset"] = np.concatenate([[0], np.cumsum(areas)[:-1]]) * 3
    index["height"], index["width"], index["label"] = heights, side_px, -1
    name_bytes = len(_name(0))
    index["name"] = np.arange(rows) * name_bytes
    rng = np.random.default_rng(0)
    with (folder / PIXELS).open("wb") as pixels, (folder / NAMES).open("wb") as names:
        for start in range(0, rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, rows)
            pixels.write(rng.bytes(3 * int(areas[start:stop].sum())))
            names.write(b"".join(map(_name, range(start, stop))))
    (folder / INDEX_FILE).write_bytes(index.tobytes())
    (folder / REPORT).write_bytes(b"")
    _write_meta(folder, rows, side_px, same_size=same_size)


def _name(row: int) -> bytes:
    return b"%09d.png\n" % row


def _write_meta(folder: Path, rows: int, side_px: int, *, same_size: bool) -> None:
    files = {name: _sha256(folder / name) for name in (PIXELS, INDEX_FILE, NAMES)}
    min_height_px = side_px if same_size else side_px - 1
    facts = DatasetFacts(
        rows=rows,
        bad_files=0,
        duplicates=0,
        labels=(),
        side_px_min=min_height_px,
        side_px_median=side_px,
        side_px_max=side_px,
        same_size=same_size,
        mean=(MEAN, MEAN, MEAN),
        std=(STD, STD, STD),
        size_bytes=sum((folder / name).stat().st_size for name in files),
        sha256=manifest_sha256(files, ()),
    )
    meta = {"version": VERSION, "facts": facts.model_dump(mode="json"), "files": files}
    (folder / META).write_text(json.dumps(meta))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A pack: the prepared dataset on disk, read through memory maps.

    pack.json     version, facts, size and sha256 of each file
    pixels.u8     RGB bytes of all rows one after another, each [height, width, 3]
    rows.jpeg     in its place: a JPEG of each row, one after another
    index.bin     24 bytes a row: see INDEX
    names.txt     one name a line
    report.jsonl  files that were left out: {"name", "reason", "detail"}
    preview.png   some rows beside their views

Rows never pass through private memory: what is read stays in the page cache, which processes share.
A pack that is removed while it is open can still be read: the maps keep its bytes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trainer.data.jpeg import pixels_of
from trainer.errors import DataError, DatasetMissing
from trainer.events import DatasetFacts, StoredAs

VERSION: Final = 1
PIXELS, INDEX_FILE, NAMES, REPORT = "pixels.u8", "index.bin", "names.txt", "report.jsonl"
META, PREVIEW = "pack.json", "preview.png"
STORED: Final[dict[StoredAs, str]] = {"pixels": PIXELS, "jpeg": "rows.jpeg"}
"""The file that holds the rows."""

INDEX: Final = np.dtype(
    [
        ("offset", "<u8"),  # of the first byte in pixels.u8 or rows.jpeg
        ("height", "<u2"),
        ("width", "<u2"),
        ("label", "<i4"),  # number of the class, -1 without one
        ("name", "<u8"),  # offset of the name in names.txt
    ]
)


def manifest_sha256(files: dict[str, str], labels: tuple[str, ...]) -> str:
    """Names the rows of a pack: two packs with one hash hold the same rows and labels.

    `files` maps pixels, index and names to their sha256.
    """
    manifest = {"version": VERSION, "files": files, "labels": labels}
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


class Pack:
    """The rows of a dataset, by number."""

    def __init__(self, folder: Path, facts: DatasetFacts) -> None:
        self.folder = folder
        self.facts = facts
        self.rows = facts.rows
        self._index = _mapped(folder / INDEX_FILE, INDEX)
        self.is_grid = facts.same_size and facts.stored_as == "pixels"
        """Whether the rows lie in memory as one array."""
        self.stored = _mapped(folder / STORED[facts.stored_as], np.dtype(np.uint8))
        """All bytes of pixels.u8 or rows.jpeg."""
        self._names = _mapped(folder / NAMES, np.dtype(np.uint8))
        self.labels: NDArray[np.int32] = self._index["label"]
        """Class of each row, int32 [rows], -1 = none. Memory-mapped."""
        self._check()

    @classmethod
    def open(cls, path: Path) -> "Pack":
        """Open the pack in a folder. Raises DatasetMissing or DataError."""
        try:
            meta = json.loads((path / META).read_text())
            return cls(path, _facts(meta, path))
        except FileNotFoundError as error:
            raise DatasetMissing(
                f"{path} holds no pack: {Path(error.filename).name} is missing."
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _damaged(path, f"{META} is not JSON") from error

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of a row, in pixels."""
        entry = self._index[row]
        return int(entry["height"]), int(entry["width"])

    def name(self, row: int) -> str:
        """Name of the file that a row was read from."""
        start = int(self._index[row]["name"])
        end = int(self._index[row + 1]["name"]) if row + 1 < self.rows else len(self._names)
        return self._names[start:end].tobytes().rstrip(b"\n").decode()

    def image(self, row: int) -> NDArray[np.uint8]:
        """Pixels of a row, u8 [height, width, 3]: memory-mapped, or decoded. Raises DataError."""
        start = int(self._index[row]["offset"])
        height, width = self.size(row)
        if self.facts.stored_as == "pixels":
            return self.stored[start : start + height * width * 3].reshape(height, width, 3)
        end = int(self._index[row + 1]["offset"]) if row + 1 < self.rows else len(self.stored)
        try:
            return pixels_of(self.stored[start:end].data).reshape(height, width, 3)
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged(self.folder, f"row {row} cannot be decoded") from error

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Heights and widths of rows, int32 [B, 2]."""
        entries = self._index[rows]
        return np.stack([entries["height"], entries["width"]], axis=1).astype(np.int32)

    def gather(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Rows on one canvas: u8 [B, H, W, 3] padded with zeros below and right, int32 [B, 2]."""
        sizes = self.sizes(rows)
        height, width = (int(side) for side in sizes.max(axis=0))
        canvas = np.zeros((len(rows), height, width, 3), np.uint8)
        self.gather_into(canvas, rows)
        return canvas, sizes

    def gather_into(self, canvas: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """Copy rows to the upper left corners of a zeroed canvas, u8 [B, H, W, 3]."""
        if self.is_grid:
            np.take(self.grid(), rows, axis=0, out=canvas, mode="clip")
            return
        for place, row in zip(canvas, rows, strict=True):
            image = self.image(int(row))
            place[: image.shape[0], : image.shape[1]] = image

    def grid(self) -> NDArray[np.uint8]:
        """All rows of a pack that `is_grid`, u8 [rows, height, width, 3], mapped."""
        return self.stored.reshape(self.rows, *self.size(0), 3)

    def _check(self) -> None:
        if len(self._index) != self.rows or self.rows < 1:
            raise _damaged(self.folder, f"{INDEX_FILE} does not hold {self.rows} rows")
        name, found = STORED[self.facts.stored_as], len(self.stored)
        height, width = self.size(self.rows - 1)
        last = int(self._index[-1]["offset"])
        if self.facts.stored_as == "jpeg" and last >= found:
            raise _damaged(self.folder, f"{name} has {found} bytes, and its last row none")
        if self.facts.stored_as == "pixels" and last + height * width * 3 != found:
            wanted = last + height * width * 3
            raise _damaged(self.folder, f"{name} has {found} bytes, not {wanted}")


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The whole file as a read-only array."""
    size_bytes = path.stat().st_size
    if not size_bytes or size_bytes % dtype.itemsize:
        raise _damaged(path.parent, f"{path.name} has {size_bytes} bytes")
    # As a plain array: np.memmap's own type makes each slice slow.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _facts(meta: object, path: Path) -> DatasetFacts:
    if not isinstance(meta, dict) or meta.get("version") != VERSION:
        raise _damaged(path, f"{META} is not of version {VERSION}")
    try:
        return DatasetFacts.model_validate_json(json.dumps(meta.get("facts")))
    except ValidationError as error:
        raise _damaged(path, f"{META} has no facts") from error


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"The pack {path} is damaged: {what}.", hint="Add the dataset again.")

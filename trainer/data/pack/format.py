"""A pack: the prepared dataset on disk, read through memory maps.

    pack.json     version, modality, columns, facts, size and sha256 of each file
    pixels.u8     values of all rows one after another, each [height, width, channels]
    pixels.u16    in its place: values of 16 bits, little end first
    rows.jpeg     in its place: a JPEG of each row, one after another
    values.u64    how many pixels of each channel have each value, [channels, 256 or 65536]
    index.bin     24 bytes a row: see INDEX
    names.txt     one name a line
    report.jsonl  files that were left out: {"name", "reason", "detail"}
    preview.png   some rows beside their views; also preview-unlike.png, see `write_preview`
    split.u8      where rows have splits: 0, 1, 2 for train, val, test
    sequence.i4   where rows have sequences: the line of each row's in sequence.txt, -1 for none
    time.f64      where rows have times; not a number for none
    pair.i4       where rows have pairs: number of each row's pair, -1 for none
    sent.u4       where rows were shrunk: height and width of each file
    mask.u8       where rows have masks: each [height, width], one after another
    masked.u8     where only some rows have masks: 1 for these, else 0

Version 2 added columns and 16 bits; packs of version 1 are read. Later additions are columns:
those that this version does not know are left alone.

Rows never pass through private memory: what is read stays in the page cache, which processes share.
A pack that is removed while it is open can still be read: the maps keep its bytes.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trainer.data.readers.items import SPLITS, Split
from trainer.schema.choices import StoredAs
from trainer.schema.errors import DataError, DatasetMissing
from trainer.schema.events import DatasetFacts

VERSION: Final = 2
VERSIONS_READ: Final = (1, 2)
PIXELS, PIXELS_DEEP, JPEG = "pixels.u8", "pixels.u16", "rows.jpeg"
INDEX_FILE, NAMES, REPORT = "index.bin", "names.txt", "report.jsonl"
META = "pack.json"
PREVIEW, PREVIEW_UNLIKE = "preview.png", "preview-unlike.png"
COUNTS, SPLIT, TIME = "values.u64", "split.u8", "time.f64"
MASK, MASKED = "mask.u8", "masked.u8"
SEQUENCE, SEQUENCE_NAMES, PAIR = "sequence.i4", "sequence.txt", "pair.i4"
SENT, SENT_SIZE = "sent.u4", np.dtype([("height", "<u4"), ("width", "<u4")])

Columns = dict[str, dict[str, Any]]
"""Columns in `pack.json`, by name."""

INDEX: Final = np.dtype(
    [
        ("offset", "<u8"),  # of the first byte in the file that holds the rows
        ("height", "<u2"),
        ("width", "<u2"),
        ("label", "<i4"),  # number of the class, -1 without one
        ("name", "<u8"),  # offset of the name in names.txt
    ]
)


def rows_file(stored_as: StoredAs, dtype: str) -> str:
    """Return the name of the file that holds the rows."""
    if stored_as == "jpeg":
        return JPEG
    return PIXELS_DEEP if dtype == "uint16" else PIXELS


def manifest_sha256(
    files: dict[str, str], labels: tuple[str, ...], *, identity: dict[str, Any] | None = None
) -> str:
    """Return the hash that packs share if they hold the same rows, labels and `identity`.

    `files` maps rows, index, names and further columns to their sha256; `identity` is what else
    the modality counts as part of the rows.
    """
    # The version of the manifest, not of the pack: the same rows keep their name.
    manifest = {"version": 1, "files": files, "labels": labels, **(identity or {})}
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


class Pack:
    """The rows of a dataset, by number."""

    def __init__(self, folder: Path, facts: DatasetFacts, columns: Columns) -> None:
        self.folder = folder
        self.facts = facts
        self.rows = facts.rows
        self.channels = facts.channels
        self.dtype: np.dtype[Any] = np.dtype("<u2" if facts.dtype == "uint16" else np.uint8)
        """Data type of the rows' values."""
        self._index = map_file(folder / INDEX_FILE, INDEX)
        self.is_uniform = facts.same_size and facts.stored_as == "pixels"
        """True if the rows are one contiguous array."""
        self.rows_path = folder / rows_file(facts.stored_as, facts.dtype)
        self.stored = map_file(self.rows_path, np.dtype(np.uint8))
        """All bytes of the file that holds the rows."""
        self._names = map_file(folder / NAMES, np.dtype(np.uint8))
        self.labels: NDArray[np.int32] = self._index["label"]
        """Class of each row, int32 [rows], -1 = none. Memory-mapped."""
        self.split = self._column(columns, "split", SPLIT, np.dtype(np.uint8))
        """Index into SPLITS of each row, u8 [rows]; None where no row has one: all train."""
        self.time = self._column(columns, "time", TIME, np.dtype("<f8"))
        """Time per row in its sequence, float64 [rows], NaN for none; None without times."""
        self.sequence = self._column(columns, "sequence", SEQUENCE, np.dtype("<i4"))
        """Number of each row's sequence, int32 [rows], -1 = none; None without sequences."""
        self.pair = self._column(columns, "pair", PAIR, np.dtype("<i4"))
        """Number of each row's pair, int32 [rows], -1 = none; None without pairs."""
        self._has_masks = "mask" in columns
        self._masked = self._column(columns, "masked", MASKED, np.dtype(np.uint8))
        self._sent = self._column(columns, "sent", SENT, SENT_SIZE)
        self._check()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the pack in a folder. Raises DatasetMissing or DataError."""
        try:
            meta = _meta(path)
            return cls(path, _facts(meta, path), _columns(meta))
        except FileNotFoundError as error:
            raise DatasetMissing(
                f"{path} holds no pack: {Path(error.filename).name} is missing."
            ) from error

    def size(self, row: int) -> tuple[int, int]:
        """Return the height and width of a row, in pixels."""
        entry = self._index[row]
        return int(entry["height"]), int(entry["width"])

    def name(self, row: int) -> str:
        """Return the name of the file that a row was read from."""
        start = int(self._index[row]["name"])
        end = int(self._index[row + 1]["name"]) if row + 1 < self.rows else len(self._names)
        return self._names[start:end].tobytes().rstrip(b"\n").decode()

    def rows_of(self, split: Split) -> NDArray[np.int64]:
        """Return the rows of a split, ascending; without splits every row is of `train`."""
        if self.split is None:
            return np.arange(self.rows if split == "train" else 0, dtype=np.int64)
        return np.flatnonzero(self.split == SPLITS.index(split))

    def sequence_names(self) -> list[str]:
        """Return the names of the sequences, by number."""
        if self.sequence is None:
            return []
        return (self.folder / SEQUENCE_NAMES).read_text("utf-8").split("\n")[:-1]

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """Return the mask of a row, u8 [height, width], 0 where it has none; None without masks."""
        if not self._has_masks:
            return None
        height, width = self.size(row)
        masks = map_file(self.folder / MASK, np.dtype(np.uint8))
        start = int(self._mask_starts[row])
        return masks[start : start + height * width].reshape(height, width)

    def masked_rows(self) -> NDArray[np.int64]:
        """Return the rows that have a mask, ascending; packs of older versions do not tell: all."""
        if not self._has_masks:
            return np.empty(0, np.int64)
        return np.arange(self.rows) if self._masked is None else np.flatnonzero(self._masked)

    def row_bytes(self, row: int) -> NDArray[np.uint8]:
        """Return the bytes of a row as they are stored, u8 [N]. Memory-mapped."""
        start = int(self._index[row]["offset"])
        end = int(self._index[row + 1]["offset"]) if row + 1 < self.rows else len(self.stored)
        return self.stored[start:end]

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the heights and widths of rows, int32 [B, 2]."""
        entries = self._index[rows]
        return np.stack([entries["height"], entries["width"]], axis=1).astype(np.int32)

    def sent(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return heights and widths of the files, int64 [B, 2]; None where rows are as large."""
        if self._sent is None:
            return None
        entries = self._sent[rows]
        return np.stack([entries["height"], entries["width"]], axis=1).astype(np.int64)

    def grid(self) -> NDArray[Any]:
        """Return all rows of a pack that `is_uniform`, [rows, height, width, channels], mapped."""
        return self.stored.view(self.dtype).reshape(self.rows, *self.size(0), self.channels)

    @cached_property
    def _mask_starts(self) -> NDArray[np.int64]:
        areas = self._index["height"].astype(np.int64) * self._index["width"]
        return np.concatenate([[0], np.cumsum(areas)])

    def _column(
        self, columns: Columns, name: str, file: str, dtype: np.dtype[Any]
    ) -> NDArray[Any] | None:
        if name not in columns:
            return None
        values = map_file(self.folder / file, dtype)
        if len(values) != self.rows:
            raise damaged_pack(self.folder, f"{file} does not hold {self.rows} rows")
        return values

    def _check(self) -> None:
        if len(self._index) != self.rows or self.rows < 1:
            raise damaged_pack(self.folder, f"{INDEX_FILE} does not hold {self.rows} rows")
        name, size_bytes = self.rows_path.name, len(self.stored)
        height, width = self.size(self.rows - 1)
        last = int(self._index[-1]["offset"])
        if self.facts.stored_as == "jpeg" and last >= size_bytes:
            raise damaged_pack(self.folder, f"{name} has {size_bytes} bytes, and its last row none")
        expected_bytes = last + height * width * self.channels * self.dtype.itemsize
        if self.facts.stored_as == "pixels" and expected_bytes != size_bytes:
            raise damaged_pack(self.folder, f"{name} has {size_bytes} bytes, not {expected_bytes}")


def map_file(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the whole file as a read-only array."""
    size_bytes = path.stat().st_size
    if not size_bytes or size_bytes % dtype.itemsize:
        raise damaged_pack(path.parent, f"{path.name} has {size_bytes} bytes")
    # As a plain array: np.memmap's own type makes each slice slow.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def modality_of(folder: Path) -> str:
    """Return the modality of the pack in a folder. Raises DatasetMissing or DataError."""
    try:
        return str(_meta(folder).get("modality", "image"))
    except FileNotFoundError as error:
        raise DatasetMissing(f"{folder} holds no pack: {META} is missing.") from error


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged_pack(folder, f"{META} is not JSON") from error
    if not isinstance(meta, dict):
        raise damaged_pack(folder, f"{META} is no object")
    return meta


def _facts(meta: dict[str, Any], path: Path) -> DatasetFacts:
    if meta.get("version") not in VERSIONS_READ:
        versions = " or ".join(map(str, VERSIONS_READ))
        raise damaged_pack(path, f"{META} is not of version {versions}")
    facts = meta.get("facts")
    fields = DatasetFacts.model_fields
    try:
        # A later version may tell more of a pack than this one knows.
        kept = {key: facts[key] for key in facts if key in fields} if facts else None
        return DatasetFacts.model_validate_json(json.dumps(kept))
    except (ValidationError, TypeError) as error:
        raise damaged_pack(path, f"{META} has no facts") from error


def _columns(meta: dict[str, Any]) -> Columns:
    """Return the columns of version 2; version 1 has pixels and labels only."""
    columns = meta.get("columns")
    return columns if isinstance(columns, dict) else {}


def damaged_pack(path: Path, what: str) -> DataError:
    """Return the error of a pack that cannot be read."""
    return DataError(f"The pack {path} is damaged: {what}.", hint="Add the dataset again.")

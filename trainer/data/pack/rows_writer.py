"""Writes the rows of one layout to the disk as they come; only the index stays in memory."""

import hashlib
import math
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.classes import ClassNames, RowLabels, labels_of_rows
from trainer.data.pack.format import (
    INDEX,
    INDEX_FILE,
    NAMES,
    PAIR,
    SEQUENCE,
    SEQUENCE_NAMES,
    SPLIT,
    TIME,
    Columns,
)
from trainer.data.readers.items import SPLITS, Item
from trainer.data.rows import Layout, Row
from trainer.schema.events import DataWarning, FileRecord
from trainer.util.atomic_files import sync_folder


class HashedFile:
    """A file written once, with the hash of what was written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def close(self) -> FileRecord:
        """Flush, fsync and close the file."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        digest = self._hash.hexdigest()
        return FileRecord(name=self._path.name, size_bytes=self.size_bytes, sha256=digest)

    def abandon(self) -> None:
        """Close it as it is."""
        self._file.close()


class RowsWriter(ABC, Generic[Row]):
    """Rows of one layout, in a folder of their own. A modality adds its columns and facts."""

    derived: ClassVar[frozenset[str]] = frozenset()
    """Files that follow from others: they are not part of a pack's hash."""

    def __init__(self, folder: Path, layout: Layout, *, rows_file: str) -> None:
        self.folder, self.layout = folder, layout
        self.rows = 0
        folder.mkdir()
        self.rows_file = rows_file
        self._files = {name: HashedFile(folder / name) for name in (rows_file, NAMES)}
        self._index = bytearray()
        self._folders: list[str] = []
        self._splits, self._has_splits = bytearray(), False
        self._times: list[float] = []
        self._sequences: dict[str, int] = {}
        self._sequence_of: list[int] = []
        self._pairs: dict[str, int] = {}
        self._pair_of: list[int] = []

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return the fields of DatasetFacts that the modality knows, once rows are finished."""

    @abstractmethod
    def check(self) -> None:
        """Raise DataError if these rows cannot be kept as the spec asks."""

    def identity(self) -> dict[str, Any]:
        """Return what a pack's hash covers beside its files."""
        return {}

    def warnings(self) -> list[DataWarning]:
        """Return warnings about the rows, once they are finished."""
        return []

    @property
    def index(self) -> NDArray[np.void]:
        """Entries of the rows so far."""
        return np.frombuffer(self._index, INDEX)

    def add(self, rows: Sequence[tuple[Item, Row]]) -> None:
        """Append rows."""
        names = self._files[NAMES]
        offset = self._files[self.rows_file].size_bytes
        for item, row in rows:
            entry = (offset, *row.shape, item.label, names.size_bytes)
            self._index += np.array(entry, INDEX).tobytes()
            names.write(item.name.encode() + b"\n")
            self._folders.append(sys.intern(item.name.rpartition("/")[0]))
            offset += len(row.stored)
            self._note(item)
        self._write([row for _, row in rows])
        self.rows += len(rows)

    def names(self) -> Iterator[str]:
        """Return the names of the rows, once no more are added."""
        return iter((self.folder / NAMES).read_text("utf-8").split("\n")[:-1])

    def finish(self, names: ClassNames) -> tuple[RowLabels, list[FileRecord]]:
        """Write and fsync everything: return the classes and the files of the rows.

        `names` are the class names of the items' labels.
        """
        index = self.index
        labels = labels_of_rows(self._folders, index["label"], names)
        index["label"] = labels.numbers
        if labels.splits and not self._has_splits:
            self._splits = bytearray(SPLITS.index(split or "train") for split in labels.splits)
            self._has_splits = True
        for name, data in {INDEX_FILE: index.tobytes(), **self._columns()}.items():
            self._files[name] = HashedFile(self.folder / name)
            self._files[name].write(data)
        return labels, [file.close() for file in self._files.values()]

    def columns(self) -> Columns:
        """Return the entry of `pack.json` for each column."""
        columns: Columns = {"label": {"file": INDEX_FILE}}
        for name, file in (("split", SPLIT), ("time", TIME), ("pair", PAIR)):
            if file in self._files:
                columns[name] = {"file": file}
        if SPLIT in self._files:
            columns["split"]["names"] = list(SPLITS)
        if SEQUENCE in self._files:
            columns["sequence"] = {"file": SEQUENCE, "names": SEQUENCE_NAMES}
        return columns

    def split_rows(self) -> dict[str, int]:
        """Return the number of rows of each split; empty without splits."""
        if SPLIT not in self._files:
            return {}
        return {name: self._splits.count(number) for number, name in enumerate(SPLITS)}

    def timed_rows(self) -> int:
        """Return the number of rows with a sequence and a time."""
        return sum(
            number >= 0 and not math.isnan(time)
            for number, time in zip(self._sequence_of, self._times, strict=True)
        )

    def paired_rows(self) -> int:
        """Return the number of rows that share their pair with another row."""
        counts = Counter(number for number in self._pair_of if number >= 0)
        return sum(count for count in counts.values() if count > 1)

    def move_to(self, folder: Path) -> None:
        """Move the finished files into the folder of the pack."""
        for path in self.folder.iterdir():
            path.rename(folder / path.name)
        self.folder.rmdir()
        sync_folder(folder)

    def abandon(self) -> None:
        """Close all files as they are."""
        for file in self._files.values():
            file.abandon()

    def _write(self, rows: Sequence[Row]) -> None:
        """Append the bytes of rows whose entries are in the index."""
        self._files[self.rows_file].write(b"".join(row.stored for row in rows))

    def _note(self, item: Item) -> None:
        """Keep what a source tells of a row beside its values."""
        # A row without a split is trained on; `_columns` records if no row has one.
        self._splits.append(SPLITS.index(item.split or "train"))
        self._has_splits |= item.split is not None
        self._times.append(float("nan") if item.time is None else item.time)
        self._sequence_of.append(_number(item.sequence, self._sequences))
        self._pair_of.append(_number(item.pair, self._pairs))

    def _columns(self) -> dict[str, bytes]:
        """Return the files of those columns that any row has a value in."""
        columns: dict[str, bytes] = {}
        if self._has_splits:
            columns[SPLIT] = bytes(self._splits)
        times = np.array(self._times, "<f8")
        if not np.isnan(times).all():
            columns[TIME] = times.tobytes()
        if self._sequences:
            columns[SEQUENCE] = np.array(self._sequence_of, "<i4").tobytes()
            columns[SEQUENCE_NAMES] = "".join(f"{name}\n" for name in self._sequences).encode()
        if self._pairs:
            columns[PAIR] = np.array(self._pair_of, "<i4").tobytes()
        return columns


def _number(name: str | None, numbers: dict[str, int]) -> int:
    """Return the number of a name, a new one for a new name; -1 for None."""
    if name is None:
        return -1
    return numbers.setdefault(" ".join(name.split()), len(numbers))

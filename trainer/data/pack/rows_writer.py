"""Writes the rows of one kind to the disk as they come; only the index stays in memory."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.labels.classes import ClassNames, RowLabels, labels_of_rows
from trainer.data.pack.format import (
    COUNTS,
    INDEX,
    INDEX_FILE,
    MASK,
    NAMES,
    SENT,
    SENT_SIZE,
    SEQUENCE,
    SEQUENCE_NAMES,
    SPLIT,
    TIME,
    Columns,
    counted,
    rows_file,
)
from trainer.data.pack.wide_values import Extent, extent_of
from trainer.data.readers.items import SPLITS, Item
from trainer.data.rows import Decoded, Kind
from trainer.modalities.image.size_histogram import SideCounter
from trainer.schema.choices import StoredAs
from trainer.schema.events import FileRecord, ValueMapping
from trainer.util.atomic_files import sync_folder

HALF_RANGE = 32_768
"""Added to signed values of 16 bits, so that they are kept without a sign."""


class Layout(NamedTuple):
    """Type and number of channels, the same for all rows of a pack."""

    kind: Kind
    channels: int

    @property
    def dtype(self) -> str:
        """Return the type of stored values."""
        return "uint8" if self.kind == "uint8" else "uint16"

    def words(self) -> str:
        """Return the range as text for a report."""
        values = {"wide": "32 bits or floats"}.get(self.kind, self.kind)
        return f"{self.channels} channel{'s' if self.channels > 1 else ''} of {values}"


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


class RowsWriter:
    """Rows of one layout, in a folder of their own."""

    def __init__(self, folder: Path, layout: Layout, stored_as: StoredAs) -> None:
        self.folder, self.layout = folder, layout
        self.rows = 0
        self.sides = SideCounter()
        self.extent: Extent | None = None
        """Extent of wide values, while they are only measured."""
        self.non_finite = self.channels_left_out = self.pages_left_out = 0
        self.truncated_kept = 0
        self.windows: Counter[tuple[float, float]] = Counter()
        """Number of rows per suggested value range."""
        self.axes: Counter[str] = Counter()
        """Files that say this of their pages."""
        self.source_dtype = ""
        folder.mkdir()
        self._rows_file = rows_file(stored_as, layout.dtype)
        self._files = {name: HashedFile(folder / name) for name in (self._rows_file, NAMES)}
        self._index = bytearray()
        self._folders: list[str] = []
        levels = 256 if layout.dtype == "uint8" else 65_536
        self.counts = np.zeros((layout.channels, levels), np.int64)
        self._splits, self._has_splits = bytearray(), False
        self._times: list[float] = []
        self._sequences: dict[str, int] = {}
        self._sequence_of: list[int] = []
        self._sent, self._was_shrunk = bytearray(), False

    def add(self, rows: Sequence[tuple[Item, Decoded]]) -> None:
        """Append rows."""
        stored, names = self._files[self._rows_file], self._files[NAMES]
        offset = stored.size_bytes
        for item, decoded in rows:
            entry = (offset, decoded.height, decoded.width, item.label, names.size_bytes)
            self._index += np.array(entry, INDEX).tobytes()
            names.write(item.name.encode() + b"\n")
            self._folders.append(sys.intern(item.name.rpartition("/")[0]))
            offset += len(decoded.stored)
            self.sides.add(decoded.sent_side_px)
            self._note(item, decoded)
        if rows[0][1].kind != "wide" or rows[0][1].mapped:
            stored.write(b"".join(decoded.stored for _, decoded in rows))
            self.counts += self._counted(b"".join(decoded.pixels for _, decoded in rows))
        self._write_masks(rows)
        self.rows += len(rows)

    def names(self) -> Iterator[str]:
        """Names of the rows, once no more are added."""
        return iter((self.folder / NAMES).read_text("utf-8").split("\n")[:-1])

    def mapping(self, extent: Extent | None) -> ValueMapping:
        """Return the mapping from stored values to source values, without the display range.

        `extent` is that of all wide values.
        """
        scale, offset = 1.0, 0.0
        if self.layout.kind == "int16":
            offset = -float(HALF_RANGE)
        if self.layout.kind == "wide" and extent is not None:
            scale, offset = extent.scale, extent.low
        return ValueMapping(
            low=0.0,
            high=255.0,
            scale=scale,
            offset=offset,
            source_dtype=self.source_dtype,
            non_finite=self.non_finite,
        )

    def finish(self, names: ClassNames) -> tuple[NDArray[np.void], RowLabels, list[FileRecord]]:
        """Write and fsync everything: the index, the classes and the files of the rows.

        `names` are the class names of the items' labels.
        """
        index = np.frombuffer(self._index, INDEX)
        labels = labels_of_rows(self._folders, index["label"], names)
        index["label"] = labels.numbers
        if labels.splits and not self._has_splits:
            self._splits = bytearray(SPLITS.index(split or "train") for split in labels.splits)
            self._has_splits = True
        written = {INDEX_FILE: index.tobytes(), **self._columns()}
        for name, data in written.items():
            self._files[name] = HashedFile(self.folder / name)
            self._files[name].write(data)
        records = [file.close() for file in self._files.values()]
        counts = HashedFile(self.folder / COUNTS)
        counts.write(self.counts.astype("<i8").tobytes())
        return index, labels, [*records, counts.close()]

    def columns(self) -> Columns:
        """Return the entry of `pack.json` for each column."""
        pixels = {
            "file": self._rows_file,
            "dtype": self.layout.dtype,
            "channels": self.layout.channels,
        }
        found: Columns = {"pixels": pixels, "label": {"file": INDEX_FILE}}
        for name, file in (("split", SPLIT), ("time", TIME), ("sent", SENT), ("mask", MASK)):
            if file in self._files:
                found[name] = {"file": file}
        if SPLIT in self._files:
            found["split"]["names"] = list(SPLITS)
        if SEQUENCE in self._files:
            found["sequence"] = {"file": SEQUENCE, "names": SEQUENCE_NAMES}
        return found

    def split_rows(self) -> dict[str, int]:
        """Rows of each split; empty without splits."""
        if SPLIT not in self._files:
            return {}
        return {name: self._splits.count(place) for place, name in enumerate(SPLITS)}

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

    def _note(self, item: Item, decoded: Decoded) -> None:
        """Keep what is known of a row beside its values."""
        # A row without a split is trained on; `_columns` records if no row has one.
        self._splits.append(SPLITS.index(item.split or "train"))
        self._has_splits |= item.split is not None
        self._times.append(float("nan") if item.time is None else item.time)
        known = self._sequences
        sequence = None if item.sequence is None else " ".join(item.sequence.split())
        number = -1 if sequence is None else known.setdefault(sequence, len(known))
        self._sequence_of.append(number)
        self._sent += np.array(decoded.sent, SENT_SIZE).tobytes()
        self._was_shrunk |= decoded.sent != (decoded.height, decoded.width)
        self.source_dtype = self.source_dtype or decoded.dtype
        self.non_finite += decoded.non_finite
        self.channels_left_out += decoded.channels_left_out > 0
        self.pages_left_out += decoded.pages_left_out
        self.truncated_kept += decoded.is_truncated
        self.windows.update([decoded.window] if decoded.window else ())
        self.axes.update([decoded.told] if decoded.told else ())
        if decoded.kind == "wide" and not decoded.mapped:
            found = extent_of(decoded)
            self.extent = found.joined(self.extent) if found is not None else self.extent

    def _counted(self, pixels: bytes) -> NDArray[np.int64]:
        levels = self.counts.shape[1]
        if self.layout == ("uint8", 3):
            # Pillow counts values faster than numpy adds them.
            found = Image.frombytes("RGB", (1, len(pixels) // 3), pixels).histogram()
            return np.array(found, dtype=np.int64).reshape(3, levels)
        flat = np.frombuffer(pixels, "<u2" if levels > 256 else np.uint8)
        return counted(flat.reshape(-1, self.layout.channels), levels)

    def _write_masks(self, rows: Sequence[tuple[Item, Decoded]]) -> None:
        """Masks of these rows, once any row has had one; zeros for those without."""
        if MASK not in self._files and all(decoded.mask is None for _, decoded in rows):
            return
        if MASK not in self._files:
            self._files[MASK] = HashedFile(self.folder / MASK)
            before = np.frombuffer(self._index, INDEX)[: self.rows]
            for entry in before:
                self._files[MASK].write(bytes(int(entry["height"]) * int(entry["width"])))
        for _, decoded in rows:
            self._files[MASK].write(decoded.mask or bytes(decoded.height * decoded.width))

    def _columns(self) -> dict[str, bytes]:
        """The files of those columns that any row has a value in."""
        found: dict[str, bytes] = {}
        if self._has_splits:
            found[SPLIT] = bytes(self._splits)
        times = np.array(self._times, "<f8")
        if not np.isnan(times).all():
            found[TIME] = times.tobytes()
        if self._was_shrunk:
            found[SENT] = bytes(self._sent)
        if self._sequences:
            found[SEQUENCE] = np.array(self._sequence_of, "<i4").tobytes()
            found[SEQUENCE_NAMES] = "".join(f"{name}\n" for name in self._sequences).encode()
        return found

"""Writes a pack: rows go to the disk as they come, only the index stays in memory."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.images import Decoded
from trainer.data.items import BadFile, Item
from trainer.data.labels import labels_of_folders
from trainer.data.pack import (
    INDEX,
    INDEX_FILE,
    META,
    NAMES,
    REPORT,
    STORED,
    VERSION,
    manifest_sha256,
)
from trainer.data.sides import SideCounter
from trainer.events import DatasetFacts, FileRecord, StoredAs
from trainer.failpoints import reach
from trainer.files import record_of, sync_folder

ROWS_OF = (*STORED.values(), INDEX_FILE, NAMES)
"""The files that make up the rows, and with them the hash of the pack."""


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
        """Bring it to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        digest = self._hash.hexdigest()
        return FileRecord(name=self._path.name, size_bytes=self.size_bytes, sha256=digest)

    def abandon(self) -> None:
        """Close it as it is."""
        self._file.close()


class PackWriter:
    """A pack in the making, in a folder of its own. Nothing is there until `publish`."""

    def __init__(self, folder: Path, store_as: StoredAs = "pixels") -> None:
        """`folder` is the pack to be; it is built in `<folder>.tmp` beside it."""
        self._stored_as = store_as
        self.rows = self.bad_files = self.duplicates = 0
        self._folder = folder
        self.building = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(self.building, ignore_errors=True)
        self.building.mkdir(parents=True)
        self._files = {
            name: HashedFile(self.building / name) for name in (STORED[store_as], NAMES, REPORT)
        }
        self._index = bytearray()
        self._folders: list[str] = []
        self._sums = np.zeros((2, 3), dtype=object)
        self._sides = SideCounter()

    def add(self, rows: Sequence[tuple[Item, Decoded]]) -> None:
        """Append rows."""
        stored, names = self._files[STORED[self._stored_as]], self._files[NAMES]
        offset = stored.size_bytes
        for item, decoded in rows:
            entry = (offset, decoded.height, decoded.width, item.label, names.size_bytes)
            self._index += np.array(entry, INDEX).tobytes()
            names.write(item.name.encode() + b"\n")
            self._folders.append(sys.intern(item.name.rpartition("/")[0]))
            offset += len(decoded.stored)
            self._sides.add(decoded.sent_side_px)
        stored.write(b"".join(decoded.stored for _, decoded in rows))
        self._sums += _sums(b"".join(decoded.pixels for _, decoded in rows))
        self.rows += len(rows)
        reach("ingest.mid_write")

    def report(self, bad: BadFile) -> None:
        """Note a file that is left out."""
        if bad.reason == "duplicate":
            self.duplicates += 1
        else:
            self.bad_files += 1
        line = {"name": bad.name, "reason": bad.reason, "detail": bad.detail}
        self._files[REPORT].write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def finish(self, classes: tuple[str, ...] | None) -> DatasetFacts:
        """Bring all files to the disk, `pack.json` last. `classes` None: folder names tell them."""
        index = np.frombuffer(self._index, INDEX)
        if classes is None:
            classes, index["label"] = labels_of_folders(self._folders)
        index_file = HashedFile(self.building / INDEX_FILE)
        index_file.write(index.tobytes())
        records = [file.close() for file in (*self._files.values(), index_file)]
        facts = self._facts(index, classes, records)
        meta = {
            "version": VERSION,
            "facts": facts.model_dump(mode="json"),
            "files": {record.name: record.model_dump(exclude={"name"}) for record in records},
        }
        meta_file = HashedFile(self.building / META)
        meta_file.write(json.dumps(meta, indent=1, sort_keys=True).encode())
        meta_file.close()
        return facts

    def publish(self) -> tuple[FileRecord, ...]:
        """Let the pack appear, whole."""
        records = tuple(record_of(path) for path in sorted(self.building.iterdir()))
        sync_folder(self.building)
        shutil.rmtree(self._folder, ignore_errors=True)
        reach("ingest.pre_rename")
        self.building.rename(self._folder)
        sync_folder(self._folder.parent)
        return records

    def abandon(self) -> None:
        """Leave nothing behind."""
        for file in self._files.values():
            file.abandon()
        shutil.rmtree(self.building, ignore_errors=True)

    def _facts(
        self, index: NDArray[np.void], classes: tuple[str, ...], records: list[FileRecord]
    ) -> DatasetFacts:
        sides = np.stack([index["height"], index["width"]]).astype(np.int64)
        short, long = sides.min(axis=0), sides.max(axis=0)
        mean, std = _mean_std(self._sums, int(sides.prod(axis=0).sum()))
        hashes = {record.name: record.sha256 for record in records if record.name in ROWS_OF}
        return DatasetFacts(
            rows=self.rows,
            bad_files=self.bad_files,
            duplicates=self.duplicates,
            labels=classes,
            side_px_min=int(short.min()),
            side_px_median=int(np.sort(short)[len(short) // 2]),
            side_px_max=int(long.max()),
            same_size=bool((sides == sides[:, :1]).all()),
            mean=mean,
            std=std,
            size_bytes=sum(record.size_bytes for record in records),
            stored_as=self._stored_as,
            sha256=manifest_sha256(hashes, classes),
            sides_sent=self._sides.histogram(),
        )


def _sums(pixels: bytes) -> NDArray[np.object_]:
    """Sums of the values and of their squares for each channel, exact, [2, 3]."""
    # Pillow counts values faster than numpy adds them.
    histogram = Image.frombytes("RGB", (1, len(pixels) // 3), pixels).histogram()
    counts = np.array(histogram, dtype=np.int64).reshape(3, 256)
    values = np.arange(256, dtype=np.int64)
    return np.stack([counts @ values, counts @ values**2]).astype(object)


def _mean_std(
    sums: NDArray[np.object_], pixels: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Of each channel in [0, 1], from whole numbers: the order of the rows cannot matter."""
    means = [int(total) / pixels for total in sums[0]]
    variances = [(int(squares) * pixels - int(total) ** 2) / pixels**2 for total, squares in sums.T]
    red, green, blue = (mean / 255.0 for mean in means)
    red_std, green_std, blue_std = (variance**0.5 / 255.0 for variance in variances)
    return (red, green, blue), (red_std, green_std, blue_std)

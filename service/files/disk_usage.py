"""Disk usage of files in allocated blocks, as `du` counts them."""

import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from trainer.schema import artifact_names

BLOCK_BYTES = 512
"""Unit of `st_blocks`, on every file system."""


USES: Final = (
    *("uploads", "packs", "weights", "checkpoints", "artifacts"),
    *("jobs", "logs", "store", "other"),
)
"""Uses of the bytes in a data folder."""


def folder_bytes(folder: Path) -> int:
    """Return what everything under `folder` takes; 0 if there is no such folder.

    Links are not followed. A file with several names is counted once; one that is removed
    meanwhile is left out.
    """
    return sum(size for _, size in _sizes(folder))


def bytes_by_use(data_dir: Path) -> dict[str, int]:
    """Return what the data folder takes for each of `USES`; their sum is that of `du`."""
    sizes = dict.fromkeys(USES, 0)
    for path, size_bytes in _sizes(data_dir):
        sizes[_use(path[len(str(data_dir)) + 1 :])] += size_bytes
    return sizes


class StorageMeter:
    """Measures a data folder at most once every `every_s`. Safe to call from several threads."""

    def __init__(
        self, data_dir: Path, *, every_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._data_dir, self._every_s, self._now_s = data_dir, every_s, now_s
        self._lock = threading.Lock()
        self._measured_s, self._bytes = -math.inf, dict.fromkeys(USES, 0)

    def read(self) -> dict[str, int]:
        """Return what `bytes_by_use` found lately."""
        with self._lock:
            if self._now_s() - self._measured_s >= self._every_s:
                self._bytes = bytes_by_use(self._data_dir)
                self._measured_s = self._now_s()
            return self._bytes


_FOLDERS = {"datasets": "packs", "redis": "store"}
_FOLDERS |= {name: name for name in ("weights", "jobs", "logs")}


def _use(path: str) -> str:
    """Return the use of a path relative to the data folder."""
    match path.split("/"):
        case [("datasets" | "weights"), _, artifact_names.UPLOAD]:
            return "uploads"
        case ["jobs", _, "attempts", _, ("checkpoints" | "artifacts") as use, *_]:
            return use
        case [folder, *_]:
            return _FOLDERS.get(folder, "other")
    return "other"


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the path and the bytes of everything under `folder`, itself included."""
    inodes, pending = set[tuple[int, int]](), [str(folder)]
    yield str(folder), _own_bytes(folder)
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    if (status.st_dev, status.st_ino) in inodes:
                        continue
                    inodes.add((status.st_dev, status.st_ino))
                yield entry.path, status.st_blocks * BLOCK_BYTES
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)


def _own_bytes(path: Path) -> int:
    try:
        return path.lstat().st_blocks * BLOCK_BYTES
    except OSError:
        return 0

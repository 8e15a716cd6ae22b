"""Removes the bytes of uploads that nobody goes on with, and probes of yesterday."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from service.background import Background
from service.probes import forget_old
from service.store.errors import NotFound, StoreError
from service.store.store import Store
from service.uploads import STAGED

EVERY_S = 3600.0

log = structlog.get_logger("service.tidier")


class Tidier(Background):
    """A thread that looks at the start and then once an hour. Any number of them may run."""

    def __init__(self, store: Store, data_dir: Path, *, kept_s: float) -> None:
        super().__init__("tidier", every_s=min(EVERY_S, kept_s))
        self._store, self._data_dir, self._kept_s = store, data_dir, kept_s

    def turn(self) -> None:
        """Look once."""
        for path in abandoned(self._data_dir, older_s=self._kept_s):
            if self._stopping.is_set():
                return
            self._remove(path)
        self._forget_probes()

    def _remove(self, path: Path) -> None:
        try:
            if self._waits_for_bytes(path.parent.name):
                size = empty(path, older_s=self._kept_s)
                log.info("upload_removed", dataset=path.parent.name, size_bytes=size)
        except (StoreError, OSError) as error:
            log.warning("upload_not_removed", path=str(path), error=str(error))

    def _forget_probes(self) -> None:
        try:
            if count := forget_old(self._store, self._data_dir):
                log.info("probes_removed", count=count)
        except (StoreError, OSError) as error:
            log.warning("probes_not_removed", error=str(error))

    def _waits_for_bytes(self, dataset_id: str) -> bool:
        """Whether this is an unfinished upload: what is being ingested is read by a worker."""
        try:
            return self._store.datasets.get(dataset_id).status == "received"
        except NotFound:
            return False


def abandoned(data_dir: Path, *, older_s: float) -> Iterator[Path]:
    """Staged files that hold bytes, none of which came in the last `older_s`."""
    for path in sorted((data_dir / "datasets").glob(f"*/{STAGED}")):
        if _is_old(path.lstat(), older_s):
            yield path


def empty(path: Path, *, older_s: float) -> int:
    """Drop the bytes, unless a sender is at it or has come back; how many there were.

    The file stays: a sender that has just opened it must not write into one without a name.
    """
    file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a sender holds it as long as it sends
        found = os.fstat(file)
        if not _is_old(found, older_s):
            return 0
        os.ftruncate(file, 0)
        os.fsync(file)
        return found.st_size
    finally:
        os.close(file)


def _is_old(found: os.stat_result, older_s: float) -> bool:
    return found.st_size > 0 and time.time() - found.st_mtime > older_s

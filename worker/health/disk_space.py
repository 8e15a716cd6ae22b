"""Free disk space: a worker claims no job while a disk of the data folder is full."""

import logging
import shutil
from pathlib import Path

LOG = logging.getLogger(__name__)
FOLDERS = ("", "jobs", "datasets")
"""Folders of the data folder that may be disks of their own."""


class DiskSpaceGuard:
    """Check before each claim. While a disk is full, jobs wait in the queue.

    Otherwise they would be claimed again and again, and fail before their first checkpoint.
    """

    def __init__(self, data_dir: Path, *, free_bytes_min: int) -> None:
        self._data_dir, self._free_bytes_min = data_dir, free_bytes_min
        self._waiting = False

    def has_room(self) -> bool:
        """Return whether every disk of the data folder has enough free; log each change once."""
        free = free_bytes(self._data_dir)
        lacking = free < self._free_bytes_min
        if lacking and not self._waiting:
            LOG.warning(
                "no job is claimed: %d MB free under %s, %d MB needed. Free some space; "
                "queued jobs then start automatically.",
                *(free // 10**6, self._data_dir, self._free_bytes_min // 10**6),
            )
        elif self._waiting and not lacking:
            LOG.info("enough disk space again")
        self._waiting = lacking
        return not lacking


def free_bytes(data_dir: Path) -> int:
    """Return the free bytes of the fullest disk that the data folder uses."""
    return min(shutil.disk_usage(path).free for path in _folders(data_dir))


def _folders(data_dir: Path) -> list[Path]:
    return [data_dir / name for name in FOLDERS if (data_dir / name).is_dir()] or [Path("/")]

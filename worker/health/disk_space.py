"""Whether the disk has room for an attempt: a full one is waited for, not run into."""

import logging
import shutil
from pathlib import Path

LOG = logging.getLogger(__name__)
PLACES = ("", "jobs", "datasets")
"""Folders of the data folder that may be disks of their own."""


class Room:
    """Looks before each claim. A job that met a full disk waits in the queue until there is room.

    Otherwise it would be claimed again and again, and fail each time before its first checkpoint.
    """

    def __init__(self, data_dir: Path, *, free_bytes_min: int) -> None:
        self._data_dir, self._free_bytes_min = data_dir, free_bytes_min
        self._waiting = False

    def is_there(self) -> bool:
        """Whether every disk of the data folder has enough free. Says so in the log, once."""
        free = free_bytes(self._data_dir)
        lacking = free < self._free_bytes_min
        if lacking and not self._waiting:
            LOG.warning(
                "no job is taken: %d MB are free under %s, %d MB are needed. Make room; jobs that "
                "wait go on by themselves.",
                *(free // 10**6, self._data_dir, self._free_bytes_min // 10**6),
            )
        elif self._waiting and not lacking:
            LOG.info("there is room again")
        self._waiting = lacking
        return not lacking


def free_bytes(data_dir: Path) -> int:
    """Free bytes of the fullest disk that the data folder uses."""
    return min(shutil.disk_usage(path).free for path in _places(data_dir))


def _places(data_dir: Path) -> list[Path]:
    return [data_dir / place for place in PLACES if (data_dir / place).is_dir()] or [Path("/")]

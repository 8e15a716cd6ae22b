"""What files take on the disk: allocated blocks, as `du` counts them."""

import os
import stat
from pathlib import Path

BLOCK_BYTES = 512
"""Unit of `st_blocks`, on every file system."""


def folder_bytes(folder: Path) -> int:
    """Return what everything under `folder` takes; 0 if there is no such folder.

    Links are not followed. A file with several names is counted once; one that is removed
    meanwhile is left out.
    """
    total, seen, pending = 0, set[tuple[int, int]](), [str(folder)]
    total += _own_bytes(folder)
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
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * BLOCK_BYTES
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
    return total


def _own_bytes(path: Path) -> int:
    try:
        return path.lstat().st_blocks * BLOCK_BYTES
    except OSError:
        return 0

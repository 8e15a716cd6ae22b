"""Writing files so that a kill or a full disk never leaves half of one behind."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import StorageError

FULL_DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


def write_synced(path: Path, data: bytes) -> str:
    """Write a new file and wait for the disk. Returns its sha256 in hex.

    Raises FileExistsError if it is there, OSError if the disk refuses.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all, whatever was there before."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with storage_errors(path, leftover=temporary):
        write_synced(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def storage_errors(target: Path, *, leftover: Path) -> Iterator[None]:
    """Turn a disk's refusal into a StorageError that names `target`, and remove `leftover`."""
    try:
        yield
    except OSError as error:
        remove(leftover)
        why = "the disk is full" if error.errno in FULL_DISK else error.strerror or str(error)
        raise StorageError(f"{target.name} could not be written: {why}.") from error


def remove(path: Path) -> None:
    """Remove a file or a folder with what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

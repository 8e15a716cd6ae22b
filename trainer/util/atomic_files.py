"""Writing files so that a kill or a full disk never leaves half of one behind."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.schema.errors import StorageError
from trainer.schema.events import FileRecord

FULL_DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
MANIFEST = "manifest.json"
"""Written last into the folder of a checkpoint: where it is, the checkpoint is whole."""


def write_synced(path: Path, data: bytes) -> str:
    """Write a new file and fsync it. Returns its sha256 in hex.

    Raises FileExistsError if it exists, OSError on a disk error.
    """
    return write_blocks(path, [data]).sha256


def write_blocks(path: Path, blocks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write a new file block by block and fsync it; only one block is in memory at a time.

    Each block is written before the next one is requested. A file whose fsync failed must be
    removed, never synced again: the kernel may count its lost pages as clean. Raises as
    `write_synced`.
    """
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as file:
        for block in blocks:
            digest.update(block)
            size_bytes += len(block)
            left = memoryview(block)
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    return FileRecord(name=path.name, size_bytes=size_bytes, sha256=digest.hexdigest())


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_of(path: Path) -> FileRecord:
    """Return the name, size and sha256 of a file. Raises OSError."""
    return FileRecord(name=path.name, size_bytes=path.stat().st_size, sha256=sha256_of(path))


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, and fsync each parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data` atomically."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with storage_errors(path, leftover=temporary):
        write_synced(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def storage_errors(target: Path, *, leftover: Path) -> Iterator[None]:
    """Turn a disk's refusal into a StorageError that names `target`.

    After any error `leftover` is removed.
    """
    try:
        yield
    except OSError as error:
        remove(leftover)
        why = "the disk is full" if error.errno in FULL_DISK else error.strerror or str(error)
        raise StorageError(f"{target.name} could not be written: {why}.") from error
    except Exception:
        remove(leftover)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

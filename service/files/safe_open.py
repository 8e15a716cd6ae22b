"""Opening files of the data folder without following a link."""

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_inside(root: Path, relative: str) -> BinaryIO:
    """Open the regular file `relative` under `root`, following no link on the way.

    Raises FileNotFoundError for whatever is not there, is no regular file, or is a link.
    """
    parts = _parts(relative)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = _open(part, FOLDER, folder)
            os.close(folder)
            folder = inner
        descriptor = _open(parts[-1], FILE, folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(relative)
    return os.fdopen(descriptor, "rb")


def folder_exists(root: Path, relative: str) -> bool:
    """Return whether `relative` is a folder under `root`, and no link."""
    try:
        path = root.joinpath(*_parts(relative))
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _parts(relative: str) -> tuple[str, ...]:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in relative:
        raise FileNotFoundError(relative)
    return path.parts


def _open(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise FileNotFoundError(name) from error

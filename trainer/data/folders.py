"""A folder of images. Links are not followed: a dataset is what lies in the folder itself."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.data.items import BadFile, Entry, Limits, Listing, name_fault
from trainer.data.rows import BadImage
from trainer.errors import DataError


@contextmanager
def open_folder(path: Path, limits: Limits) -> Iterator[Listing]:
    """The files below a folder in the order of their names. Raises DataError."""
    names = sorted(_names(path, limits))
    yield Listing(
        names=names,
        bytes_total=sum(_size_bytes(path, name) for name in names),
        entries=lambda: (_entry(path, name, limits) for name in names),
    )


def _names(root: Path, limits: Limits) -> Iterator[str]:
    count = 0
    for folder, folders, files in os.walk(root, onerror=_unreadable_folder):
        # Folders that are links are listed as folders but not walked into: they are reported.
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            count += 1
            if count > limits.entries:
                raise DataError(
                    f"{root.name} holds more files than entries_max, {limits.entries}.",
                    hint="Raise entries_max, or add a part of it.",
                )
            yield os.path.relpath(os.path.join(folder, name), root)


def _unreadable_folder(error: OSError) -> None:
    raise DataError(
        f"The folder {error.filename} cannot be read: {error.strerror}.",
        hint="Let the worker's user read it, then add the dataset again.",
    ) from error


def _size_bytes(root: Path, name: str) -> int:
    try:
        return os.lstat(root / name).st_size
    except OSError:
        return 0


def _entry(root: Path, name: str, limits: Limits) -> Entry | BadFile:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if fault := name_fault(shown, limits):
        return BadFile(shown.encode("unicode_escape").decode(), "refused", f"it {fault}")
    try:
        status = os.lstat(root / name)
    except OSError as error:
        return BadFile(shown, "unreadable", error.strerror or "it is gone")
    if stat.S_ISLNK(status.st_mode):
        return BadFile(shown, "refused", "it is a link; links are not followed")
    if not stat.S_ISREG(status.st_mode):
        return BadFile(shown, "refused", "it is a device or a pipe")
    return Entry(shown, status.st_size, lambda: _load(root / name, limits))


def _load(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file, even if something else took its place since it was listed."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadImage("refused", "it is no regular file any more")
            data = file.read(limits.entry_bytes + 1)
    except OSError as error:
        raise BadImage("unreadable", error.strerror or "it cannot be read") from error
    if len(data) > limits.entry_bytes:
        raise BadImage("oversize", f"more bytes than file_bytes_max, {limits.entry_bytes}")
    return data

"""A folder of images. Links are read on request, as long as they stay under the allowed roots."""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.data.readers.item_names import decoded_name, name_fault, shown_name
from trainer.data.readers.items import BadFile, Entry, Limits, Listing
from trainer.data.readers.regions import ELSEWHERE, Region, lies_in
from trainer.data.rows import BadRow
from trainer.schema.errors import DataError

LINK = "it is a link; links are read with --follow-links"
LOOP = "it is a link to a folder that it lies in"
BROKEN = "it is a link that leads nowhere"
SPECIAL = "it is a device or a pipe"
DEPTH_MAX = 100
FOLDER_HINT = "Make it readable for the worker's user, then add the dataset again."


@dataclass(frozen=True, slots=True)
class Follow:
    """Policy for symbolic links: whether they are followed, and where to."""

    links: bool = False
    roots: tuple[Path, ...] = ()
    """Resolved folders that must contain every file; empty: no restriction."""


NO_LINKS = Follow()


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    """Path relative to the root, as the system spells it."""
    size_bytes: int = 0
    fault: tuple[str, str] | None = None
    """Reason and detail of a file that cannot be a row."""


@contextmanager
def open_folder(path: Path, limits: Limits, follow: Follow = NO_LINKS) -> Iterator[Listing]:
    """Open a folder: the files below it in the order of their names. Raises DataError."""
    walk = _Walk(path, limits, follow)
    files = sorted(walk.files(), key=lambda file: file.name)
    by_name = {_shown(file): file for file in files if not _fault(file, limits)}
    yield Listing(
        names=list(by_name),
        bytes_total=sum(file.size_bytes for file in by_name.values()),
        entries=lambda: (walk.entry(file) for file in files),
        read=lambda names: _chosen(walk, by_name, names),
    )


def _chosen(
    walk: "_Walk", by_name: dict[str, _File], names: Collection[str]
) -> Iterator[Entry | BadFile]:
    return (walk.entry(by_name[name]) for name in sorted(names) if name in by_name)


class _Walk:
    def __init__(self, root: Path, limits: Limits, follow: Follow) -> None:
        self._root, self._limits, self._follow = root, limits, follow
        self._count = 0

    def files(self) -> Iterator[_File]:
        """Yield every file below the root, and each folder that cannot be read."""
        yield from self._below("", (_identity(os.stat(self._root)),))

    def entry(self, file: _File) -> Entry | BadFile:
        """Return a file to load, or the reason why not."""
        shown = _shown(file)
        if fault := _fault(file, self._limits):
            return BadFile(shown_name(shown), *fault)
        return Entry(
            shown,
            file.size_bytes,
            lambda: self._load(file.name),
            lambda: self._open(file.name),
        )

    def _below(self, folder: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[_File]:
        if len(ancestors) > DEPTH_MAX:
            yield _File(folder, fault=("refused", f"it lies deeper than {DEPTH_MAX} folders"))
            return
        try:
            with self._opened_folder(folder) as file:
                for entry in sorted(os.scandir(file), key=lambda entry: entry.name):
                    yield from self._at(os.path.join(folder, entry.name), entry, ancestors)
        except OSError as error:
            if folder:
                yield _File(folder, fault=("unreadable", f"the folder: {error.strerror}"))
            elif error.errno == errno.EPERM:
                raise
            else:
                raise DataError(
                    f"The folder {error.filename} cannot be read: {error.strerror}.",
                    hint=FOLDER_HINT,
                ) from error

    @contextmanager
    def _opened_folder(self, folder: str) -> Iterator[int]:
        """Open a folder for the time of the block. Raises OSError, also outside of the roots."""
        no_links = 0 if self._follow.links or not folder else os.O_NOFOLLOW
        flags = os.O_RDONLY | os.O_DIRECTORY | no_links | os.O_CLOEXEC
        file = os.open(self._root / folder, flags)
        try:
            if not lies_in(file, self._follow.roots):
                raise PermissionError(errno.EPERM, ELSEWHERE, str(self._root / folder))
            yield file
        finally:
            os.close(file)

    def _at(
        self, name: str, entry: "os.DirEntry[str]", ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[_File]:
        self._count += 1
        self._limits.check_time(self._root.name)
        if self._count > self._limits.entries:
            raise DataError(
                f"{self._root.name} holds more files than entries_max, {self._limits.entries}.",
                hint="Raise entries_max, or add a part of it.",
            )
        try:
            is_link = entry.is_symlink()
            fault = self._link_fault(name) if is_link else None
            status = entry.stat(follow_symlinks=is_link and not fault)
        except OSError as error:
            fault, reason = BROKEN if entry.is_symlink() else None, error.strerror or "it is gone"
            yield _File(name, fault=("refused", fault) if fault else ("unreadable", reason))
            return
        if not fault and stat.S_ISDIR(status.st_mode):
            if _identity(status) in ancestors:
                yield _File(name, fault=("refused", LOOP))
                return
            yield from self._below(name, (*ancestors, _identity(status)))
            return
        if not fault and not stat.S_ISREG(status.st_mode):
            fault = SPECIAL
        yield _File(name, status.st_size, ("refused", fault) if fault else None)

    def _link_fault(self, name: str) -> str | None:
        if not self._follow.links:
            return LINK
        real, roots = Path(os.path.realpath(self._root / name)), self._follow.roots
        return ELSEWHERE if roots and not any(map(real.is_relative_to, roots)) else None

    def _load(self, name: str) -> bytes:
        limit = self._limits.entry_bytes
        with self._open(name) as region:
            try:
                data = region.pread(0, min(region.size_bytes, limit + 1))
            except OSError as error:
                raise BadRow("unreadable", error.strerror or "it cannot be read") from error
        if len(data) > limit:
            raise BadRow("oversize", f"more bytes than file_bytes_max, {limit}")
        return data

    @contextmanager
    def _open(self, name: str) -> Iterator[Region]:
        """Open a regular file, even if something else took its place since it was listed."""
        no_links = 0 if self._follow.links else os.O_NOFOLLOW
        flags = os.O_RDONLY | no_links | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self._root / name, flags)
        except OSError as error:
            raise BadRow("unreadable", error.strerror or "it cannot be read") from error
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise BadRow("refused", "it is no regular file any more")
            if not lies_in(file, self._follow.roots):
                raise BadRow("refused", ELSEWHERE)
            yield Region(file, status.st_size, name)
        finally:
            os.close(file)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _shown(file: _File) -> str:
    return decoded_name(os.fsencode(file.name))


def _fault(file: _File, limits: Limits) -> tuple[str, str] | None:
    if file.fault:
        return file.fault
    raw = os.fsencode(file.name)
    fault = name_fault(raw, decoded_name(raw), bytes_max=limits.name_bytes)
    return ("refused", f"it {fault}") if fault else None

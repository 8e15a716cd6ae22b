"""What can be uploaded: a file as it is, or a folder as a tar that is never written to disk.

Both can start at any byte, so an interrupted upload goes on where it stopped, and the tar of
an unchanged folder has the same bytes each time.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from mocoserve.errors import Unusable

CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512
_END = bytes(2 * _BLOCK_BYTES)


class Source(Protocol):
    """Bytes of a known number that can be read from any offset."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def read(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on, in chunks."""
        ...


class FileSource:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        """Raises Unusable if `path` is empty."""
        self.path, self.size_bytes = path, path.stat().st_size
        if not self.size_bytes:
            raise Unusable(f"{path} is empty", hint="Name an archive that holds images.")

    def read(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on."""
        with self.path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class _Member(NamedTuple):
    path: Path
    header: bytes
    size_bytes: int

    @property
    def padding_bytes(self) -> int:
        return -self.size_bytes % _BLOCK_BYTES

    @property
    def total_bytes(self) -> int:
        return len(self.header) + self.size_bytes + self.padding_bytes


class FolderSource:
    """A folder's regular files as one tar: sorted, relative names, no links, no times."""

    def __init__(self, folder: Path) -> None:
        """Looks at every file once. Raises Unusable if there is none."""
        self.folder = folder
        self._members = [_member(folder, path, size) for path, size in sorted(_files(folder))]
        if not self._members:
            raise Unusable(f"{folder} holds no files", hint="Name a folder with images in it.")
        self.size_bytes = sum(m.total_bytes for m in self._members) + len(_END)

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self._members)

    def read(self, offset: int) -> Iterator[bytes]:
        """The bytes of the tar from `offset` on; files before it are not opened."""
        skip = offset
        for member in self._members:
            if skip >= member.total_bytes:
                skip -= member.total_bytes
                continue
            for chunk in _bytes_of(member):
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))
        yield _END[skip:]


def source_of(path: Path) -> Source:
    """The source at `path`. Raises Unusable if there is nothing to send."""
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return FileSource(path)
    raise Unusable(
        f"There is no file or folder {path}", hint="Check the path; it is read on this machine."
    )


def sha256_of(source: Source, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Hex digest of all bytes; `on_bytes` is told the size of each chunk."""
    digest = hashlib.sha256()
    for chunk in source.read(0):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Regular files and their sizes; links and names that start with a dot are left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif stat.S_ISREG((info := entry.stat(follow_symlinks=False)).st_mode):
                yield Path(entry.path), info.st_size


def _member(folder: Path, path: Path, size_bytes: int) -> _Member:
    info = tarfile.TarInfo(path.relative_to(folder).as_posix())
    info.size = size_bytes
    return _Member(path, info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), size_bytes)


def _bytes_of(member: _Member) -> Iterator[bytes]:
    yield member.header
    left = member.size_bytes
    with member.path.open("rb") as file:
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise Unusable(
                f"{member.path} changed while it was read",
                hint="Wait until nothing writes to the folder, then run the same command again.",
            )
    yield bytes(member.padding_bytes)

"""Sources of an upload: a file as it is, or a folder as a tar that is never written to disk.

Both can start at any byte, so an interrupted upload can be resumed, and the tar of
an unchanged folder has the same bytes each time. A file that is not sent, such as a link, is an
entry without bytes that says so: the server has a line for it in the dataset's report.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from mocoserve.errors import Unusable

CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512
_END = bytes(2 * _BLOCK_BYTES)
_LEFT_OUT = "MOCO.left_out"
"""Extended record of an entry that is not sent; its value is a _Reason."""
_LABELS = "labels.csv"
_Reason = Literal["link", "loop", "broken", "special", "unreadable"]


class Source(Protocol):
    """Bytes of known size that can be read from any offset."""

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes."""
        ...

    def read(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, in chunks."""
        ...


class FileSource:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        """Raises Unusable if `path` is empty."""
        self.path, self.size_bytes = path, path.stat().st_size
        if not self.size_bytes:
            raise Unusable(f"{path} is empty", hint="Pass an archive with images.")

    def read(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from `offset` on."""
        with self.path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class _File(NamedTuple):
    name: str
    """Path relative to the folder."""
    path: Path
    size_bytes: int
    left_out: _Reason | None = None


class _Member(NamedTuple):
    path: Path
    header: bytes
    size_bytes: int
    is_sent: bool

    @property
    def padding_bytes(self) -> int:
        return -self.size_bytes % _BLOCK_BYTES

    @property
    def total_bytes(self) -> int:
        return len(self.header) + self.size_bytes + self.padding_bytes


class FolderSource:
    """A folder's regular files as one tar: sorted, relative names, no times."""

    def __init__(
        self, folder: Path, *, follow_links: bool = False, labels: Path | None = None
    ) -> None:
        """Look at every file once. Raises Unusable if there is none to send.

        `follow_links` sends what links lead to. `labels` is sent as the folder's labels.csv.
        """
        self.folder = folder
        files = sorted(_files(folder, follow_links=follow_links))
        if labels is not None:
            files = [file for file in files if file.name != _LABELS]
            files.append(_File(_LABELS, labels, labels.stat().st_size))
        self._members = [_member(file) for file in files]
        if not self.files:
            links = any(file.left_out == "link" for file in files)
            hint = (
                "Follow its symbolic links with --follow-links."
                if links
                else "Pass a folder with images."
            )
            raise Unusable(f"{folder} contains no files", hint=hint)
        self.size_bytes = sum(m.total_bytes for m in self._members) + len(_END)

    @property
    def files(self) -> int:
        """Return the number of files that are sent."""
        return sum(member.is_sent for member in self._members)

    def read(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes of the tar from `offset` on; files before it are not opened."""
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


def source_of(path: Path, *, follow_links: bool = False, labels: Path | None = None) -> Source:
    """Return the source at `path`. Raises Unusable if there is nothing to send.

    `follow_links` and `labels` are those of FolderSource.
    """
    if labels is not None and not labels.is_file():
        raise Unusable(f"{labels} not found", hint="Pass a CSV file with two columns.")
    if path.is_dir():
        return FolderSource(path, follow_links=follow_links, labels=labels)
    if labels is not None:
        hint = f"Save it in {path.name} as {_LABELS}, next to the images."
        raise Unusable("--labels works only with a folder", hint=hint)
    if path.is_file():
        return FileSource(path)
    raise Unusable(f"{path} not found", hint="Check the path. It is read on this machine.")


def sha256_of(source: Source, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the hex digest of all bytes; `on_bytes` gets the size of each chunk."""
    digest = hashlib.sha256()
    for chunk in source.read(0):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()


def _files(folder: Path, *, follow_links: bool) -> Iterator[_File]:
    """Yield all files below a folder; names that start with a dot are left out."""
    status = folder.stat()
    yield from _below(folder, "", follow_links, ((status.st_dev, status.st_ino),))


def _below(
    folder: Path, name: str, follow_links: bool, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[_File]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        if not name:
            hint = "Make it readable for your user, then run the same command again."
            raise Unusable(f"{folder} cannot be read: {error.strerror}", hint=hint) from error
        yield _File(name, folder, 0, "unreadable")
        return
    for entry in entries:
        if not entry.name.startswith("."):
            inner = f"{name}/{entry.name}" if name else entry.name
            yield from _at(entry, inner, follow_links, ancestors)


def _at(
    entry: "os.DirEntry[str]",
    name: str,
    follow_links: bool,
    ancestors: tuple[tuple[int, int], ...],
) -> Iterator[_File]:
    path = Path(entry.path)
    if entry.is_symlink() and not follow_links:
        yield _File(name, path, 0, "link")
        return
    try:
        status = entry.stat()
    except OSError:
        yield _File(name, path, 0, "broken" if entry.is_symlink() else "unreadable")
        return
    identity = status.st_dev, status.st_ino
    if stat.S_ISDIR(status.st_mode) and identity in ancestors:
        yield _File(name, path, 0, "loop")
    elif stat.S_ISDIR(status.st_mode):
        yield from _below(path, name, follow_links, (*ancestors, identity))
    elif not stat.S_ISREG(status.st_mode):
        yield _File(name, path, 0, "special")
    elif not os.access(path, os.R_OK):
        yield _File(name, path, 0, "unreadable")
    else:
        yield _File(name, path, status.st_size)


def _member(file: _File) -> _Member:
    info = tarfile.TarInfo(file.name)
    info.size = file.size_bytes
    if file.left_out is not None:
        is_link = file.left_out in ("link", "loop", "broken")
        info.type = tarfile.SYMTYPE if is_link else tarfile.FIFOTYPE
        info.pax_headers = {_LEFT_OUT: file.left_out}
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return _Member(file.path, header, file.size_bytes, file.left_out is None)


def _bytes_of(member: _Member) -> Iterator[bytes]:
    yield member.header
    if not member.is_sent:
        return
    left = member.size_bytes
    with member.path.open("rb") as file:
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise Unusable(
                f"{member.path} changed while it was read",
                hint="Wait until no program writes to the folder, then run the same command again.",
            )
    yield bytes(member.padding_bytes)

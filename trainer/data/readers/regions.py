"""A run of bytes of an open file: a whole file, or an archive's entry that is stored unpacked."""

import errno
import io
import os
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trainer.schema.errors import DataError

BUFFER_BYTES = 1 << 16
NO_FILE_HINT = "Name a file or a folder of images."
ELSEWHERE = "it leads out of the allowed roots"


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes `start` to `start + size_bytes` of a file descriptor, readable from any thread."""

    file: int
    size_bytes: int
    name: str
    """The file's own name, for messages."""
    start: int = 0

    def pread(self, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes from `offset`, fewer at the end."""
        length = min(size_bytes, self.size_bytes - offset)
        data = b""
        while len(data) < length:
            position = self.start + offset + len(data)
            if not (more := os.pread(self.file, length - len(data), position)):
                break
            data += more
        return data

    def part(self, offset: int, size_bytes: int, name: str) -> "Region":
        """Return a region inside this one."""
        return Region(self.file, size_bytes, name, self.start + offset)

    def reader(self) -> IO[bytes]:
        """Return a seekable file object on these bytes, with a position of its own."""
        return io.BufferedReader(_RegionIO(self), BUFFER_BYTES)


class _RegionIO(io.RawIOBase):
    def __init__(self, region: Region) -> None:
        self._region, self._at = region, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._region.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._region.pread(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def lies_in(file: int, roots: Collection[Path]) -> bool:
    """Return whether an open file or folder is in one of the roots, after resolving links.

    The open descriptor is checked, since the path may have changed meanwhile.
    """
    real = Path(os.readlink(f"/proc/self/fd/{file}"))
    return not roots or any(real.is_relative_to(root) for root in roots)


@contextmanager
def open_region(path: Path, roots: Collection[Path] = ()) -> Iterator[Region]:
    """Open a file within the block, if it is in one of `roots`; empty: no restriction.

    Raises OSError, a PermissionError outside of the roots, and DataError if it is no regular file.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:  # that of a socket
            raise
        raise DataError(f"{path} is a device, a pipe or a socket.", hint=NO_FILE_HINT) from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is a device, a pipe or a socket.", hint=NO_FILE_HINT)
        if not lies_in(file, roots):
            raise PermissionError(errno.EPERM, ELSEWHERE, str(path))
        yield Region(file, status.st_size, path.name)
    finally:
        os.close(file)


@contextmanager
def spooled(pieces: Iterable[bytes], *, name: str, scratch: Path | None) -> Iterator[Region]:
    """Write bytes to a nameless file in `scratch` and give it as a region.

    `scratch` None takes the system's folder for temporary files.
    """
    with tempfile.TemporaryFile(dir=scratch) as file:
        size_bytes = 0
        for piece in pieces:
            size_bytes += len(piece)
            file.write(piece)
        file.flush()
        yield Region(file.fileno(), size_bytes, name)

"""A file read forwards, unpacked by gzip if it is so packed, that never grows past its limits."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trainer.data.items import Limits
from trainer.errors import DataError

PIECE_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
WHOLE_AGAIN = "The file is cut short or damaged: send it again, or pack it again."


class Stream:
    """Bytes in order. Every error of the file below is a DataError."""

    def __init__(self, raw: IO[bytes], *, archive: str, limits: Limits) -> None:
        """`raw` stands at its beginning and is seekable."""
        self.archive = archive
        self._limits = limits
        self._raw = raw
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        self._unpacked: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        self._packed = packed
        self.position = 0
        """Unpacked bytes read so far."""

    def read(self, size_bytes: int) -> bytes:
        """So many bytes, or fewer at the end."""
        pieces = []
        while size_bytes > 0 and (piece := self._piece(min(size_bytes, PIECE_BYTES))):
            pieces.append(piece)
            size_bytes -= len(piece)
        return b"".join(pieces)

    def exactly(self, size_bytes: int) -> bytes:
        """So many bytes. Raises DataError at the end."""
        data = self.read(size_bytes)
        if len(data) < size_bytes:
            raise self.broken("it ends too soon")
        return data

    def skip(self, size_bytes: int) -> None:
        """Pass over so many bytes. Raises DataError at the end."""
        while size_bytes > 0:
            piece = self._piece(min(size_bytes, PIECE_BYTES))
            if not piece:
                raise self.broken("it ends too soon")
            size_bytes -= len(piece)

    def broken(self, why: str, *, then: str = WHOLE_AGAIN) -> DataError:
        """Return the error of a file that cannot be read on. `then` is the next step."""
        return DataError(f"{self.archive} cannot be read: {why}.", hint=then)

    def _piece(self, size_bytes: int) -> bytes:
        try:
            piece = self._unpacked.read(size_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.broken(f"its gzip packing is damaged or cut short ({error})") from error
        self.position += len(piece)
        limits = self._limits
        if self.position > limits.total_bytes:
            raise self.broken(
                f"it unpacks to more bytes than total_bytes_max, {limits.total_bytes}",
                then="Raise total_bytes_max, or send it in parts.",
            )
        if (
            self._packed
            and self.position > limits.ratio_from_bytes
            and self.position > limits.ratio * self._raw.tell()
        ):
            raise self.broken(
                f"it grows more than ratio_max, {limits.ratio} times, when unpacked",
                then="If you trust it, raise ratio_max.",
            )
        return piece


@contextmanager
def open_stream(path: Path, limits: Limits) -> Iterator[Stream]:
    """Read a file forwards."""
    with path.open("rb") as raw:
        yield Stream(raw, archive=path.name, limits=limits)

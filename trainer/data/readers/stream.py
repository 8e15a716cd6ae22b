"""A file read forwards, unpacked if it is packed, that never grows past its limits."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trainer.data.readers.decompress import DAMAGE, unpacker
from trainer.data.readers.items import Hostile, Limits
from trainer.data.readers.regions import Region, open_region
from trainer.schema.errors import DataError

PIECE_BYTES = 1 << 20
WHOLE_AGAIN = "The file is cut short or damaged: send it again, or pack it again."


class Stream:
    """Bytes in order. Every error of the file below is a DataError."""

    def __init__(self, raw: IO[bytes], *, archive: str, limits: Limits) -> None:
        """`raw` is seekable and at its start."""
        self.archive = archive
        self._limits = limits
        self._raw = raw
        unpacked = unpacker(raw)
        self._unpacked: IO[bytes] = unpacked or raw
        self.is_packed = unpacked is not None
        """True if a program such as gzip packed the file as a whole."""
        self.position = 0
        """Unpacked bytes read so far."""

    def read(self, size_bytes: int) -> bytes:
        """Read `size_bytes` bytes, fewer at the end."""
        pieces = []
        while size_bytes > 0 and (piece := self._piece(min(size_bytes, PIECE_BYTES))):
            pieces.append(piece)
            size_bytes -= len(piece)
        return b"".join(pieces)

    def exactly(self, size_bytes: int) -> bytes:
        """Read exactly `size_bytes` bytes. Raises DataError at the end."""
        data = self.read(size_bytes)
        if len(data) < size_bytes:
            raise self.broken("it ends too soon")
        return data

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """Yield exactly `size_bytes` bytes in pieces. Raises DataError at the end."""
        while size_bytes > 0:
            piece = self._piece(min(size_bytes, PIECE_BYTES))
            if not piece:
                raise self.broken("it ends too soon")
            size_bytes -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Yield the remaining bytes in pieces."""
        while piece := self._piece(PIECE_BYTES):
            yield piece

    def skip(self, size_bytes: int) -> None:
        """Skip `size_bytes` bytes. Raises DataError at the end."""
        for _ in self.pieces(size_bytes):
            pass

    def broken(self, why: str, *, then: str = WHOLE_AGAIN) -> DataError:
        """Return the error for a damaged file. `then` is the next step for the user."""
        return DataError(f"{self.archive} cannot be read: {why}.", hint=then)

    def hostile(self, why: str, *, then: str) -> Hostile:
        """Return the error of a file that would cost more than its limits."""
        return Hostile(f"{self.archive} cannot be read: {why}.", hint=then)

    def _piece(self, size_bytes: int) -> bytes:
        try:
            piece = self._unpacked.read(size_bytes)
        except DAMAGE as error:
            raise self.broken(f"its packing is damaged or cut short ({error})") from error
        self.position += len(piece)
        limits = self._limits
        if self.position > limits.total_bytes:
            raise self.hostile(
                f"it unpacks to more bytes than total_bytes_max, {limits.total_bytes}",
                then="Raise total_bytes_max, or send it in parts.",
            )
        if (
            self.is_packed
            and self.position > limits.ratio_from_bytes
            and self.position > limits.ratio * self._raw.tell()
        ):
            raise self.hostile(
                f"it grows more than ratio_max, {limits.ratio} times, when unpacked",
                then="If you trust it, raise ratio_max.",
            )
        return piece


def stream_of(region: Region, limits: Limits) -> Stream:
    """Return a stream that reads a region from its beginning."""
    return Stream(region.reader(), archive=region.name, limits=limits)


@contextmanager
def open_stream(path: Path, limits: Limits, roots: Collection[Path] = ()) -> Iterator[Stream]:
    """Open a file for sequential reading, if it is in one of `roots`; empty: no restriction."""
    with open_region(path, roots) as region:
        yield stream_of(region, limits)

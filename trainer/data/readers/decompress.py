"""Decompressing readers for gzip, bzip2, xz and zstd, detected by their magic bytes."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Protocol

GZIP_MAGIC, BZIP2_MAGIC = b"\x1f\x8b", b"BZh"
XZ_MAGIC, ZSTD_MAGIC = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
MAGIC_BYTES = 6
XZ_MEMORY_BYTES = 256 << 20
"""Memory that the dictionary of an xz file may take; `xz -9` takes 64 MiB."""
PACKED_BYTES = 1 << 16
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, OSError, ValueError)
"""Errors by which a packed file turns out to be damaged or cut short."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Streams(io.RawIOBase):
    """One or more packed streams after one another. A cut raises EOFError."""

    def __init__(self, raw: IO[bytes], start: Callable[[], _Decompressor]) -> None:
        self._raw, self._start, self._current = raw, start, start()
        self._packed = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while True:
            if self._current.eof and not self._next_stream():
                return 0
            if not self._packed and self._current.needs_input:
                self._packed = self._raw.read(PACKED_BYTES)
                if not self._packed:
                    raise EOFError("the packed bytes end too soon")
            data = self._current.decompress(self._packed, len(buffer))
            self._packed = self._current.unused_data if self._current.eof else b""
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _next_stream(self) -> bool:
        self._packed = (self._packed or self._raw.read(PACKED_BYTES)).lstrip(b"\0")
        while not self._packed and (more := self._raw.read(PACKED_BYTES)):
            self._packed = more.lstrip(b"\0")
        if self._packed:
            self._current = self._start()
        return bool(self._packed)


def unpacker(raw: IO[bytes]) -> IO[bytes] | None:
    """Return a reader that unpacks `raw`, positioned at its start; None if it is not packed.

    Reading raises one of `DAMAGE` where the file is damaged or cut short.
    """
    magic = raw.read(MAGIC_BYTES)
    raw.seek(0)
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if magic.startswith(BZIP2_MAGIC):
        return io.BufferedReader(_Streams(raw, bz2.BZ2Decompressor))
    if magic.startswith(XZ_MAGIC):
        return io.BufferedReader(_Streams(raw, _xz))
    if magic.startswith(ZSTD_MAGIC):
        import pyarrow  # noqa: PLC0415 - it takes a while to load, and few need it

        return pyarrow.CompressedInputStream(raw, "zstd")  # type: ignore[no-any-return]
    return None


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

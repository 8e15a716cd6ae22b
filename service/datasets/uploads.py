"""Receiving the bytes of an upload: resumable, counted, hashed while they are written.

The staged file is the record of how far an upload has come, so nothing else can disagree with it.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread

from service.errors import ServiceError, WrongOffset
from service.files.disk_errors import translate_disk_errors
from service.store.store_errors import NotFound
from trainer.schema.artifact_names import UPLOAD
from trainer.util.failpoints import failpoint

CHUNK_BYTES = 1024 * 1024
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
LOCK_WAIT_S, LOCK_AGAIN_S = 2.0, 0.05


@dataclass(frozen=True, slots=True)
class UploadOffer:
    """Upload as its sender announces it before the bytes."""

    offset: int
    """Offset of the first byte: 0 starts over, else the number of bytes already held."""
    size_bytes: int
    """Size of the whole content."""
    sha256: str | None
    """Hash of the whole content, if announced."""


@dataclass(frozen=True, slots=True)
class Received:
    """Progress of an upload."""

    held_bytes: int
    sha256: str | None
    """Hash of the whole content; None while bytes are missing."""


def staged_path(dataset_id: str) -> str:
    """Return the path of the uploaded bytes, relative to the data folder."""
    return f"datasets/{dataset_id}/{UPLOAD}"


def held_bytes(path: Path) -> int:
    """Return how many bytes of an upload are on the disk."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def is_locked(path: Path) -> bool:
    """Return whether a sender is writing to the staged file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(file)


@contextmanager
def no_sender(path: Path) -> Iterator[None]:
    """Keep senders away from the staged file meanwhile. Raises ServiceError `upload_busy`."""
    try:
        file = os.open(path, _FLAGS, 0o600)  # made, so that a sender who comes now meets the lock
    except FileNotFoundError:  # it has no folder
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ServiceError("upload_busy", "An upload of it is in progress.") from None
    finally:
        os.close(file)


def empty(path: Path, *, older_s: float) -> int:
    """Drop the bytes of a staged file; return how many there were.

    0 while a sender writes, or if bytes came in the last `older_s`. The file stays: a sender who
    has just opened it must not write into one without a name.
    """
    file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file)
        if time.time() - status.st_mtime <= older_s:
            return 0
        os.ftruncate(file, 0)
        os.fsync(file)
        return status.st_size
    except BlockingIOError:
        return 0
    finally:
        os.close(file)


def check_space(folder: Path | int, needed_bytes: int) -> None:
    """Raise ServiceError `disk_full` if so many bytes cannot be written to the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ServiceError("disk_full", f"{needed_bytes} bytes needed, {free} free.")


@asynccontextmanager
async def staged(path: Path) -> AsyncIterator[BinaryIO]:
    """Lock the staged file for this sender. Raises ServiceError `upload_busy` after two seconds.

    The wait is for a sender that takes up its own upload while what it sent before the break is
    still being written.
    """
    file = await to_thread.run_sync(_open, path)
    with file:
        for _ in range(int(LOCK_WAIT_S / LOCK_AGAIN_S)):
            if _locked(file):
                yield file
                return
            await asyncio.sleep(LOCK_AGAIN_S)
        raise ServiceError("upload_busy", "Another upload of it is in progress.")


async def receive(
    file: BinaryIO,
    chunks: AsyncIterator[bytes],
    offer: UploadOffer,
    *,
    on_bytes: Callable[[int], None],
) -> Received:
    """Write `chunks` at the announced offset, and check the whole once it is there.

    Bytes that arrived stay when the sender leaves or the disk is full. Raises ServiceError
    `wrong_offset`, `size_mismatch`, `sha256_mismatch` or `disk_full`.
    """
    hasher = await to_thread.run_sync(_seek, file, offer)
    offset = offer.offset

    def write(block: bytes) -> None:
        with translate_disk_errors():
            _write_all(file, block)
            failpoint("upload.mid_write")
        hasher.update(block)
        on_bytes(len(block))

    try:
        async with aclosing(_blocks(chunks)) as blocks:
            async for block in blocks:
                if offset + len(block) > offer.size_bytes:
                    raise ServiceError("size_mismatch", f"{offer.size_bytes} bytes were declared.")
                await to_thread.run_sync(write, block)
                offset += len(block)
    finally:
        await asyncio.shield(to_thread.run_sync(_sync, file))
    if offset < offer.size_bytes:
        return Received(offset, None)
    sha256 = hasher.hexdigest()
    if offer.sha256 is not None and sha256 != offer.sha256:
        await to_thread.run_sync(file.truncate, 0)
        raise ServiceError("sha256_mismatch", f"The sha256 of the upload is {sha256}.")
    return Received(offset, sha256)


def _open(path: Path) -> BinaryIO:
    with translate_disk_errors():
        try:
            return os.fdopen(os.open(path, _FLAGS, 0o600), "r+b", buffering=0)
        except FileNotFoundError:  # its folder was deleted a moment ago
            raise NotFound("upload", path.parent.name) from None


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seek(file: BinaryIO, offer: UploadOffer) -> "hashlib._Hash":
    """Seek to the offset and return the hash of all bytes before it."""
    held = os.fstat(file.fileno()).st_size
    if offer.offset not in (0, held):
        raise WrongOffset(held_bytes=held, offset=offer.offset)
    if offer.offset == 0:
        file.truncate(0)
    file.seek(0)
    hasher = hashlib.sha256()
    while block := file.read(CHUNK_BYTES):
        hasher.update(block)
    check_space(file.fileno(), offer.size_bytes - offer.offset)
    return hasher


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield chunks gathered to 1 MiB; received bytes are yielded even if the sender leaves."""
    buffer = bytearray()
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
    except Exception:
        if buffer:
            yield bytes(buffer)
        raise
    if buffer:
        yield bytes(buffer)


def _write_all(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) :]


def _sync(file: BinaryIO) -> None:
    with translate_disk_errors():
        failpoint("upload.pre_sync")
        os.fsync(file.fileno())

"""Writing of ledgers: one append and one fsync per line.

A line that was cut short by a crash is the last one, was never acted upon, and has no end; the
next writer ends it first, so that it spoils nothing behind it.
"""

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from service.ledger.entries import (
    LEDGER,
    MEMBERS,
    AttemptEnded,
    CheckpointSaved,
    Claimed,
    LedgerLine,
    encode,
)
from service.store.records import Lease, Status
from trainer.schema.events import FileRecord
from trainer.util.atomic_files import sync_folder

Each: TypeAlias = Callable[..., Iterable[Any]]
"""`map`, or a function with its signature."""
LOG = logging.getLogger(__name__)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def begin(folder: Path, line: LedgerLine) -> bool:
    """Make `folder` and its ledger with a first line, all of it on the disk when this returns.

    False if the folder was there already. Raises OSError; nothing new is left behind then.
    """
    (begun,) = begin_all([(folder, line)])
    if isinstance(begun, OSError):
        raise begun
    return begun


def begin_all(
    firsts: Sequence[tuple[Path, LedgerLine]], *, each: Each = map
) -> list[bool | OSError]:
    """Begin several ledgers. Return for each what `begin` returns or raises.

    A journal of the disk takes everybody who waits for it at once, so folders that `each`, the
    `map` of a pool of threads, begins side by side wait together. The folders above them, which
    hold their names, are synced once and last.
    """
    begun = list(each(_begin, firsts))
    lost = {above: error for above in _above(firsts, begun) if (error := _unsynced(above))}
    for n, (folder, _) in enumerate(firsts):
        if folder.parent in lost and not isinstance(begun[n], OSError):
            if begun[n]:
                shutil.rmtree(folder, ignore_errors=True)
            begun[n] = lost[folder.parent]
    return begun


def append(folder: Path, line: LedgerLine) -> None:
    """Add a line to the ledger of `folder`, on the disk when this returns.

    Raises OSError. What was written of the line before is taken back.
    """
    with opened(folder) as ledger:
        ledger.append(line)


@contextmanager
def opened(folder: Path, *, missing_ok: bool = False) -> Iterator["OpenLedger"]:
    """Lock the ledger of `folder` for the block; other writers wait until it ends.

    Redis is asked while the lock is held, so the lines stand in the order in which they took
    effect. Without its folder a ledger raises FileNotFoundError, or takes no lines if
    `missing_ok`. Raises OSError.
    """
    try:
        handle = os.open(folder / LEDGER, _FLAGS, 0o644)
    except FileNotFoundError:
        if not missing_ok:
            raise
        yield OpenLedger(None)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield OpenLedger(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """A ledger that this block alone may write to."""

    handle: int | None
    """The file; None for a job whose folder is gone."""

    def append(self, line: LedgerLine) -> None:
        """Add a line, on the disk when this returns. Raises OSError and leaves no part of it."""
        if self.handle is None:
            return
        held = os.fstat(self.handle).st_size
        is_torn = held > 0 and os.pread(self.handle, 1, held - 1) != b"\n"
        data = (b"\n" if is_torn else b"") + encode(line)
        try:
            if os.write(self.handle, data) != len(data):
                raise OSError(errno.ENOSPC, "the disk took only a part of the line")
            os.fsync(self.handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.handle, held)
            raise


class AttemptLedger:
    """Ledger of one attempt. An error of the disk is only logged, and costs no job.

    A line that is missing is never wrong: without `ended` the job is run again from its newest
    checkpoint and ends in the same bits.
    """

    def __init__(self, folder: Path, lease: Lease) -> None:
        """Write to the ledger in `folder`, the folder of the attempt.

        A further worker of a gang writes to a folder of its own beside those of the attempts.
        """
        self._folder, self._lease = folder, lease
        if lease.seat and lease.seat.node_rank:
            members = folder.parent.parent / MEMBERS
            self._folder = members / str(lease.attempt) / str(lease.seat.node_rank)

    def claimed(self) -> None:
        """Record that the attempt begins; its folder exists."""
        lease, seat = self._lease, self._lease.seat
        line = Claimed(job_id=lease.job_id, attempt=lease.attempt, at_s=time.time())
        if seat:
            line = line.model_copy(update={"node_rank": seat.node_rank, "nodes": seat.nodes})
        if line.node_rank:
            with suppress(OSError):
                self._folder.mkdir(parents=True)
        self._say(line)
        with suppress(OSError):
            for folder in (self._folder, self._folder.parent, self._folder.parent.parent):
                sync_folder(folder)

    def checkpoint(self, *, step: int, path: str, manifest_sha256: str, size_bytes: int) -> None:
        """Record a checkpoint; `path` is relative to the data folder."""
        self._say(
            CheckpointSaved(
                step=step,
                path=path,
                manifest_sha256=manifest_sha256,
                size_bytes=size_bytes,
                at_s=time.time(),
            )
        )

    def completed(
        self,
        *,
        artifacts: tuple[FileRecord, ...],
        artifacts_folder: str,
        facts_json: str | None,
        progress: Mapping[str, Any],
    ) -> None:
        """Record that the job succeeded."""
        self._say(
            AttemptEnded(
                verb="complete",
                status="succeeded",
                artifacts=artifacts,
                artifacts_folder=artifacts_folder,
                facts_json=facts_json,
                progress=dict(progress),
                at_s=time.time(),
            )
        )

    def ended(
        self,
        verb: Literal["fail", "release"],
        status: Status,
        *,
        why: tuple[str, str, str],
        progress: Mapping[str, Any],
    ) -> None:
        """Record how the attempt ended; `why` is code, message and hint."""
        code, message, hint = why
        self._say(
            AttemptEnded(
                verb=verb,
                status=status,
                code=code,
                message=message,
                hint=hint,
                progress=dict(progress),
                at_s=time.time(),
            )
        )

    def _say(self, line: LedgerLine) -> None:
        try:
            append(self._folder, line)
        except OSError as error:
            LOG.warning("job %s: no line in the ledger: %s", self._lease.job_id, error)


def _begin(first: tuple[Path, LedgerLine]) -> bool | OSError:
    """Begin a ledger, without the sync of the parent folder."""
    folder, line = first
    is_new = False
    try:
        is_new = _make(folder)
        append(folder, line)
        sync_folder(folder)
    except OSError as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        return error
    return is_new


def _above(
    firsts: Sequence[tuple[Path, LedgerLine]], begun: Sequence[bool | OSError]
) -> Iterable[Path]:
    """Return the parent folders of those that were begun, each once."""
    pairs = zip(firsts, begun, strict=True)
    return dict.fromkeys(
        folder.parent for (folder, _), its in pairs if not isinstance(its, OSError)
    )


def _unsynced(folder: Path) -> OSError | None:
    try:
        sync_folder(folder)
    except OSError as error:
        return error
    return None


def _make(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent.parent)
        return _make(folder)
    return True

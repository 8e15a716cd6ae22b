"""What the API asks of the store, in its ledger first: so that the disk is enough.

A line that Redis then refuses is taken back. When Redis does not answer nobody knows whether the
request took effect: the line stays, the caller is told to ask again with the same
Idempotency-Key, and whoever rebuilds the store from the disk lets the request take effect.
"""

import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from service.ledger import write
from service.ledger.lines import (
    LEDGER,
    ContentWhole,
    Controlled,
    DatasetCreated,
    Deleted,
    JobSubmitted,
    Refused,
    Verb,
)
from service.store.errors import (
    IdempotencyConflict,
    NameTaken,
    NotFound,
    WrongState,
)
from service.store.store import Store
from service.store.words import DatasetRecord, JobRecord, NewJob, Submitted
from trainer.failpoints import reach
from trainer.record import Record

DELETED = ".deleted"
"""Ends the name of a folder that is being removed."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Store and data folder together. Raises what the store raises, and OSError of the disk."""

    store: Store
    data_dir: Path

    def submit(
        self,
        new: NewJob,
        *,
        job_id: str,
        idempotency_key: str | None = None,
        fingerprint: str = "",
    ) -> Submitted:
        """As `Jobs.submit`; whatever it answers is on the disk by then."""
        reach("api.pre_ledger")
        folder, now_s = self.data_dir / new.folder, time.time()
        line = JobSubmitted(
            **{name: getattr(new, name) for name in NewJob.__slots__},
            job_id=job_id,
            idem_key=idempotency_key or "",
            fingerprint=fingerprint,
            created_at_s=now_s,
        )
        is_mine = write.begin(folder, line)
        reach("api.pre_submit")
        try:
            done = self.store.jobs.submit(
                new,
                job_id=job_id,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                created_at_s=now_s,
            )
        except (IdempotencyConflict, NotFound, WrongState):
            self._take_back(folder, job_id, is_mine=is_mine)
            raise
        reach("api.post_submit")
        if done.job_id != job_id:
            self._take_back(folder, job_id, is_mine=is_mine)
        return done

    def control(self, id: str, verb: Verb) -> JobRecord:
        """`cancel`, `pause` or `resume`. Raises NotFound, WrongState."""
        seen = self.store.jobs.get(id)
        folder, op = self.data_dir / seen.folder, uuid.uuid4().hex
        self._note(folder, verb, seen, op)
        reach("api.pre_control")
        try:
            done: JobRecord = getattr(self.store.jobs, verb)(id, op=op)
        except (NotFound, WrongState):
            _append(folder, Refused(op=op))
            raise
        reach("api.post_control")
        if done.attempt != seen.attempt:  # another attempt began in between: it is meant too
            self._note(folder, verb, done, op)
        return done

    def delete(self, id: str) -> None:
        """Forget a training that has ended, and remove its files. Raises NotFound, WrongState."""
        # The folder is made from the checked id, never from what the record says.
        folder, op = self.data_dir / "jobs" / id, uuid.uuid4().hex
        _append(folder, Deleted(job_id=id, op=op, at_s=time.time()))
        reach("api.pre_delete")
        try:
            self.store.jobs.delete(id)
        except (NotFound, WrongState):
            _append(folder, Refused(op=op))
            raise
        reach("api.post_delete")
        drop(folder)

    def create_dataset(
        self,
        *,
        dataset_id: str,
        name: str,
        format: str,
        size_bytes: int | None,
        sha256: str | None,
        source: str | None,
    ) -> DatasetRecord:
        """As `Datasets.create`. Raises NameTaken."""
        folder, is_mine = self.data_dir / "datasets" / dataset_id, False
        if not (folder / LEDGER).exists():  # else it is asked again
            line = DatasetCreated(
                dataset_id=dataset_id,
                name=name,
                format=format,
                size_bytes=size_bytes,
                sha256=sha256,
                source=source,
                created_at_s=time.time(),
            )
            is_mine = write.begin(folder, line)
        try:
            return self.store.datasets.create(
                dataset_id=dataset_id,
                name=name,
                format=format,
                size_bytes=size_bytes,
                sha256=sha256,
                source=source,
            )
        except NameTaken:
            if is_mine:
                drop(folder)
            raise

    def set_uploaded(self, dataset_id: str, *, size_bytes: int, sha256: str) -> DatasetRecord:
        """As `Datasets.set_uploaded`; in the ledger once it took effect, for bytes stay bytes."""
        record = self.store.datasets.set_uploaded(dataset_id, size_bytes=size_bytes, sha256=sha256)
        line = ContentWhole(size_bytes=size_bytes, sha256=sha256, at_s=time.time())
        write.append(self.data_dir / "datasets" / dataset_id, line)
        return record

    def _note(self, folder: Path, verb: Verb, seen: JobRecord, op: str) -> None:
        line = Controlled(verb=verb, job_id=seen.id, attempt=seen.attempt, op=op, at_s=time.time())
        _append(folder, line)

    def _take_back(self, folder: Path, job_id: str, *, is_mine: bool) -> None:
        """The submit made no job: its folder goes, or a line says so in the one of others."""
        if is_mine:
            drop(folder)
        else:
            write.append(folder, Deleted(job_id=job_id, op=job_id, at_s=time.time()))


def _append(folder: Path, line: Record) -> None:
    """A job whose folder is gone has no ledger to write to; it can still be steered and deleted."""
    if folder.is_dir():
        write.append(folder, line)


def drop(folder: Path) -> None:
    """Remove a folder so that a crash on the way leaves nothing that looks like a job."""
    doomed = folder.with_name(folder.name + DELETED)
    if folder.is_dir():
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)

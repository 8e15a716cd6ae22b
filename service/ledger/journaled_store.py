"""Write-ahead log for the job store.

Every change is appended to the job's ledger and fsynced before Redis is called; an entry that Redis
rejects is retracted. When Redis does not answer, nobody knows whether the request took effect: the
entry stays, the caller is asked to repeat the request with the same Idempotency-Key, and a rebuild
of the store from the disk lets the request take effect.
"""

import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.files.init_weights import ROLE, place_init
from service.ledger import ledger_writer
from service.ledger.entries import (
    ContentComplete,
    Controlled,
    DatasetCreated,
    DatasetDeleted,
    DatasetRenamed,
    Deleted,
    JobSubmitted,
    Refused,
    Verb,
)
from service.store.records import (
    TERMINAL,
    CreatedDataset,
    DatasetRecord,
    JobRecord,
    NewDataset,
    NewJob,
    Submission,
    Submitted,
)
from service.store.store import Store
from service.store.store_errors import (
    DatasetInUse,
    IdempotencyConflict,
    NameTaken,
    NotFound,
    StoreError,
    StoreUnavailable,
    WrongState,
)
from trainer.util.failpoints import failpoint

DELETED = ".deleted"
"""Suffix of a folder that is being removed."""


@dataclass(frozen=True, slots=True)
class JournaledStore:
    """Job store behind a write-ahead log. Raises what the store raises, and OSError of the disk."""

    store: Store
    data_dir: Path
    unsettled: set[str] = field(default_factory=set, compare=False)
    """Jobs whose deletion Redis did not answer: to be settled once it does."""
    unsettled_datasets: set[str] = field(default_factory=set, compare=False)
    """Datasets whose deletion Redis did not answer."""

    def submit(
        self,
        new: NewJob,
        *,
        job_id: str,
        idempotency_key: str | None = None,
        fingerprint: str = "",
    ) -> Submitted:
        """Submit a job as `Jobs.submit` does. The result is on the disk when this returns."""
        (done,) = self.submit_all(
            [
                Submission(
                    new=new,
                    job_id=job_id,
                    idempotency_key=idempotency_key,
                    fingerprint=fingerprint,
                )
            ]
        )
        if isinstance(done, Exception):
            raise done
        return done

    def submit_all(
        self, batch: Sequence[Submission], *, each: ledger_writer.Each = map
    ) -> list[Submitted | Exception]:
        """Submit several jobs. Return for each what `submit` returns or raises.

        All of them wait once for the disk and once for Redis. `each` is passed to
        `ledger_writer.begin_all`.
        """
        pending = [_PendingSubmit(submit, self.data_dir / submit.new.folder) for submit in batch]
        for submit in pending:
            with submit:
                failpoint("api.pre_ledger")
        self._write(_open(pending), each)
        self._place_inits(_open(pending))
        for submit in _open(pending):
            with submit:
                failpoint("api.pre_submit")
        self._ask(_open(pending))
        return [submit.outcome for submit in pending if submit.outcome is not None]

    def _write(self, pending: Sequence["_PendingSubmit"], each: ledger_writer.Each) -> None:
        """Write the ledger entries, before Redis is called."""
        firsts = [(submit.folder, _line(submit.submission)) for submit in pending]
        for submit, begun in zip(pending, ledger_writer.begin_all(firsts, each=each), strict=True):
            if isinstance(begun, OSError):
                submit.outcome = begun
            else:
                submit.is_mine = begun

    def _place_inits(self, pending: Sequence["_PendingSubmit"]) -> None:
        """Put the weights that jobs begin with into their folders, before a worker can ask."""
        for submit in pending:
            source = submit.submission.new.inputs.get(ROLE)
            if source is None:
                continue
            try:
                place_init(self.data_dir, source, submit.folder)
            except OSError as error:
                submit.outcome = error
                self._retract(submit.folder, submit.submission.job_id, is_mine=submit.is_mine)

    def _ask(self, pending: Sequence["_PendingSubmit"]) -> None:
        """Submit to Redis what is in the ledgers."""
        answers: list[Submitted | StoreError]
        try:
            answers = self.store.jobs.submit_all([submit.submission for submit in pending])
        except StoreUnavailable as error:
            answers = [error] * len(pending)
        for submit, answer in zip(pending, answers, strict=True):
            submit.outcome = answer
            with submit:
                if isinstance(answer, Submitted):
                    failpoint("api.post_submit")
                if submit.made_no_job(answer):
                    self._retract(submit.folder, submit.submission.job_id, is_mine=submit.is_mine)

    def control(self, id: str, verb: Verb) -> JobRecord:
        """Cancel, pause or resume a job. Raises NotFound, WrongState."""
        record, op = self.store.jobs.get(id), uuid.uuid4().hex
        with ledger_writer.opened(self.data_dir / record.folder, missing_ok=True) as ledger:
            ledger.append(_control(verb, record, op))
            failpoint("api.pre_control")
            try:
                done: JobRecord = getattr(self.store.jobs, verb)(id, op=op)
            except (NotFound, WrongState):
                ledger.append(Refused(op=op))
                raise
            failpoint("api.post_control")
            if done.attempt != record.attempt:  # another attempt began in between: it is meant too
                ledger.append(_control(verb, done, op))
        return done

    def delete(self, id: str) -> None:
        """Forget a training that has ended, and remove its files. Raises NotFound, WrongState.

        Only a job that has ended gets an entry. Redis still decides: the job may have been
        resumed, or have ended, since it was looked at.
        """
        # The folder is made from the checked id, never from what the record says.
        folder, op = self.data_dir / "jobs" / id, uuid.uuid4().hex
        with ledger_writer.opened(folder, missing_ok=True) as ledger:
            record = self.store.jobs.get(id)
            has_ended = record.status in TERMINAL
            if has_ended:
                ledger.append(Deleted(job_id=id, op=op, attempt=record.attempt, at_s=time.time()))
            failpoint("api.pre_delete")
            try:
                self.store.jobs.delete(id, op=op)
            except (NotFound, WrongState):
                if has_ended:
                    ledger.append(Refused(op=op))
                raise
            except StoreUnavailable:
                self.unsettled.add(id)
                raise
            failpoint("api.post_delete")
            drop(folder)

    def create_dataset_once(
        self, new: NewDataset, *, idempotency_key: str | None = None, fingerprint: str = ""
    ) -> CreatedDataset:
        """Create a dataset as `Datasets.create_once`. Delete a failed one that lost its name."""
        folder, key = self.data_dir / "datasets" / new.dataset_id, idempotency_key or ""
        line = DatasetCreated(
            **asdict(new), idem_key=key, fingerprint=fingerprint, created_at_s=time.time()
        )
        is_mine = ledger_writer.begin(folder, line)
        try:
            done = self.store.datasets.create_once(
                new, idempotency_key=idempotency_key, fingerprint=fingerprint
            )
        except (NameTaken, IdempotencyConflict, NotFound):
            if is_mine:
                drop(folder)
            raise
        if is_mine and done.record.id != new.dataset_id:
            drop(folder)
        if done.displaced_id is not None:
            with suppress(NotFound, DatasetInUse):
                self.delete_dataset(done.displaced_id)
        return done

    def rename_dataset(self, id: str, name: str) -> DatasetRecord:
        """Rename a dataset. Raises NotFound, NameTaken."""
        folder, op = self.data_dir / "datasets" / id, uuid.uuid4().hex
        with ledger_writer.opened(folder, missing_ok=True) as ledger:
            ledger.append(DatasetRenamed(name=name, op=op, at_s=time.time()))
            failpoint("api.pre_dataset_rename")
            try:
                return self.store.datasets.rename(id, name)
            except (NotFound, NameTaken):
                ledger.append(Refused(op=op))
                raise

    def delete_dataset(self, id: str) -> None:
        """Forget a dataset with its ingests, and remove its files.

        As for a job: only a dataset that no job needs gets an entry, and Redis still decides.

        Raises:
            NotFound, DatasetInUse: there is no such dataset, or jobs that have not ended need it.
        """
        # The folder is made from the checked id, never from what the record says.
        folder, op = self.data_dir / "datasets" / id, uuid.uuid4().hex
        with ledger_writer.opened(folder, missing_ok=True) as ledger:
            is_free = not self.store.datasets.users(id)
            if is_free:
                ledger.append(DatasetDeleted(dataset_id=id, op=op, at_s=time.time()))
            failpoint("api.pre_dataset_delete")
            try:
                self.store.datasets.delete(id, op=op)
            except (NotFound, DatasetInUse):
                if is_free:
                    ledger.append(Refused(op=op))
                raise
            except StoreUnavailable:
                self.unsettled_datasets.add(id)
                raise
            failpoint("api.post_dataset_delete")
            drop(folder)

    def set_uploaded(self, dataset_id: str, *, size_bytes: int, sha256: str) -> DatasetRecord:
        """Record that the content is complete: in Redis, then in the ledger."""
        record = self.store.datasets.set_uploaded(dataset_id, size_bytes=size_bytes, sha256=sha256)
        line = ContentComplete(size_bytes=size_bytes, sha256=sha256, at_s=time.time())
        ledger_writer.append(self.data_dir / "datasets" / dataset_id, line)
        return record

    def _retract(self, folder: Path, job_id: str, *, is_mine: bool) -> None:
        """Remove the folder of a submit that made no job, or note it in a shared ledger."""
        if is_mine:
            drop(folder)
        else:
            ledger_writer.append(folder, Deleted(job_id=job_id, op=job_id, at_s=time.time()))


@dataclass(slots=True)
class _PendingSubmit:
    """A submission in progress. `with pending:` turns an OSError inside into its outcome."""

    submission: Submission
    folder: Path
    is_mine: bool = False
    """True if this submission made the folder."""
    outcome: Submitted | Exception | None = None

    def __enter__(self) -> None:
        """Return nothing: the block is for `__exit__`."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Keep the error of the disk."""
        if isinstance(error, OSError):
            self.outcome = error
            return True
        return False

    def made_no_job(self, answer: Submitted | Exception) -> bool:
        """Return whether Redis certainly made no job of it."""
        if isinstance(answer, Submitted):
            return answer.job_id != self.submission.job_id
        return isinstance(answer, IdempotencyConflict | NotFound | WrongState)


def _open(pending: Sequence[_PendingSubmit]) -> list[_PendingSubmit]:
    """Return the submissions without an outcome."""
    return [submit for submit in pending if submit.outcome is None]


def _line(submission: Submission) -> JobSubmitted:
    new = submission.new
    return JobSubmitted(
        **{name: getattr(new, name) for name in NewJob.__slots__},
        job_id=submission.job_id,
        idem_key=submission.idempotency_key or "",
        fingerprint=submission.fingerprint,
        created_at_s=submission.created_at_s,
    )


def _control(verb: Verb, record: JobRecord, op: str) -> Controlled:
    return Controlled(verb=verb, job_id=record.id, attempt=record.attempt, op=op, at_s=time.time())


def drop(folder: Path) -> None:
    """Remove a folder so that a crash on the way leaves nothing that looks like a job."""
    doomed = folder.with_name(folder.name + DELETED)
    if folder.is_dir():
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)

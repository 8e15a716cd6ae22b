"""Replay of a ledger into the state of its job. Pure functions.

The newest attempt n decides: after `ended` the status that Redis answered, otherwise queued, for
whatever ran is claimed again. Then the controls that were asked during or after n are followed in
their order; one that the state does not allow changed nothing then and changes nothing now.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from service.ledger.entries import (
    AttemptEnded,
    AttemptLine,
    CheckpointSaved,
    Claimed,
    ContentComplete,
    Controlled,
    DatasetCreated,
    DatasetDeleted,
    DatasetRenamed,
    Deleted,
    JobLine,
    JobSubmitted,
    Refused,
)
from service.store.rebuild import OldJob
from service.store.records import (
    TERMINAL,
    AttemptRecord,
    CheckpointRecord,
    DatasetRecord,
    DatasetStatus,
    Status,
)
from trainer.schema.events import DatasetFacts

IDEMPOTENCY_S: Final = 24 * 3600.0
_AFTER: Final[dict[tuple[str, Status], Status]] = {
    ("cancel", "queued"): "cancelled",
    ("cancel", "paused"): "cancelled",
    ("pause", "queued"): "paused",
    ("resume", "paused"): "queued",
    ("resume", "cancelled"): "queued",
    ("resume", "failed"): "queued",
}
"""Status after a control of a job that no worker has; every other pair changes nothing."""


@dataclass(frozen=True, slots=True)
class JobLedger:
    """All ledger entries of one job."""

    submitted: JobSubmitted
    lines: tuple[JobLine, ...]
    """Entries of the folder's ledger; for an ingest, some may concern other ingests."""
    attempts: Mapping[int, tuple[AttemptLine, ...]]
    """Number of each folder that is there -> its lines."""

    @property
    def deleted(self) -> Deleted | None:
        """Request to delete the job, unless it was refused or the job was used since."""
        standing = None
        refused = _refused(self.lines)
        for line in self.lines:
            if not isinstance(line, Deleted | Controlled) or line.op in refused:
                continue
            if line.job_id == self.submitted.job_id:
                standing = line if isinstance(line, Deleted) else None
        return None if standing is None or _is_void(standing, self) else standing

    @property
    def open_deletions(self) -> tuple[Deleted, ...]:
        """Every deletion request for the job that Redis did not refuse, void or not."""
        job_id, refused = self.submitted.job_id, _refused(self.lines)
        deletions = (line for line in self.lines if isinstance(line, Deleted))
        return tuple(line for line in deletions if line.job_id == job_id and line.op not in refused)

    @property
    def controls(self) -> tuple[Controlled, ...]:
        """Controls of this job that Redis did not refuse, in order."""
        refused = _refused(self.lines)
        controls = [line for line in self.lines if isinstance(line, Controlled)]
        mine = [line for line in controls if line.job_id == self.submitted.job_id]
        return tuple(line for line in mine if line.op not in refused)

    @property
    def own(self) -> dict[int, tuple[AttemptLine, ...]]:
        """Attempts that are not known to belong to another job."""
        return {
            number: lines
            for number, lines in sorted(self.attempts.items())
            if all(
                line.job_id == self.submitted.job_id for line in lines if isinstance(line, Claimed)
            )
        }

    @property
    def attempt(self) -> int:
        """Highest attempt number in any ledger, or as a folder."""
        return max([0, *self.attempts, *(line.attempt for line in self.controls)])

    def ended(self, attempt: int) -> AttemptEnded | None:
        """Return how an attempt ended, if its ledger says so."""
        lines = self.own.get(attempt, ())
        return next((line for line in lines if isinstance(line, AttemptEnded)), None)


def old_job(
    job: JobLedger, *, checkpoint_exists: Callable[[CheckpointSaved], bool], now_s: float
) -> OldJob:
    """Return the job as it was. `checkpoint_exists` is asked about each checkpoint."""
    submitted, ended = job.submitted, job.ended(_newest(job))
    status, since_s = _followed(job, ended)
    why = ended if ended is not None and ended.status == status else None
    done = ended if status == "succeeded" else None
    checkpoints = _checkpoints(job, checkpoint_exists)
    return OldJob(
        id=submitted.job_id,
        new=submitted.as_new(),
        status=status,
        code=why.code if why else "",
        message=why.message if why else "",
        hint=why.hint if why else "",
        created_at_s=submitted.created_at_s,
        started_at_s=_started_at_s(job),
        finished_at_s=since_s if status in TERMINAL else None,
        attempt=job.attempt,
        failures=_failures(job),
        losses=sum(job.ended(n) is None for n in job.own),
        progress=_progress(ended, checkpoints),
        attempts=tuple(_attempt(n, lines) for n, lines in job.own.items()),
        checkpoints=checkpoints,
        artifacts=done.artifacts if done else (),
        artifacts_folder=done.artifacts_folder if done else None,
        idem_key=submitted.idem_key,
        fingerprint=submitted.fingerprint,
        idem_s=int(max(0.0, submitted.created_at_s + IDEMPOTENCY_S - now_s)),
    )


def old_dataset(lines: Iterable[JobLine], ingests: Sequence[OldJob]) -> DatasetRecord | None:
    """Return the dataset as it was, or None without a `created` line; `ingests` in order."""
    created = next((line for line in lines if isinstance(line, DatasetCreated)), None)
    if created is None:
        return None
    whole = [line for line in lines if isinstance(line, ContentComplete)]
    last = ingests[-1] if ingests else None
    ready = last is not None and last.status == "succeeded"
    renamed = renames(lines)
    status: DatasetStatus = "ready" if ready else "received"
    return DatasetRecord(
        id=created.dataset_id,
        name=renamed[-1].name if renamed else created.name,
        format=created.format,
        store_as=created.store_as,
        options=created.options,
        status=status,
        size_bytes=whole[-1].size_bytes if whole else created.size_bytes,
        sha256=whole[-1].sha256 if whole else created.sha256,
        source=created.source,
        created_at_s=created.created_at_s,
        code="",
        message="",
        hint="",
        facts=None,
        pack=last.artifacts_folder if last and ready else None,
        job_id=last.id if last else None,
        replace=created.replace and not renamed,
    )


def renames(lines: Iterable[JobLine]) -> list[DatasetRenamed]:
    """Return the renames that were not refused, in order."""
    lines = tuple(lines)
    refused = _refused(lines)
    return [line for line in lines if isinstance(line, DatasetRenamed) and line.op not in refused]


def dataset_deletion(lines: Iterable[JobLine]) -> DatasetDeleted | None:
    """Return the request to delete the dataset, unless refused or the dataset was used since."""
    lines = tuple(lines)
    refused, request = _refused(lines), None
    for line in lines:
        if isinstance(line, DatasetDeleted) and line.op not in refused:
            request = line
        elif isinstance(line, ContentComplete | JobSubmitted | Controlled | DatasetRenamed):
            request = None
    return request


def facts_of(job: JobLedger) -> DatasetFacts | None:
    """Return the facts that a successful ingest found."""
    ended = job.ended(_newest(job))
    if ended is None or not ended.facts_json:
        return None
    return DatasetFacts.model_validate_json(ended.facts_json)


def superseded(ledgers: Iterable[JobLedger]) -> set[str]:
    """Return the jobs that were never accepted: a later submit with the same key replaced them.

    One that was attempted was accepted, and stays. Otherwise the last one is meant: a caller who
    is given an id does not ask again.
    """
    by_key: dict[str, list[JobLedger]] = {}
    for job in ledgers:
        if job.submitted.idem_key:
            by_key.setdefault(job.submitted.idem_key, []).append(job)
    gone: set[str] = set()
    for same in by_key.values():
        ordered = sorted(same, key=lambda job: job.submitted.created_at_s)
        for older, newer in pairwise(ordered):
            apart_s = newer.submitted.created_at_s - older.submitted.created_at_s
            alike = newer.submitted.fingerprint == older.submitted.fingerprint
            if alike and apart_s < IDEMPOTENCY_S and not (older.own and newer.own):
                gone.add((newer if older.own else older).submitted.job_id)
    return gone


def _refused(lines: Iterable[JobLine]) -> set[str]:
    return {line.op for line in lines if isinstance(line, Refused)}


def _is_void(line: Deleted, job: JobLedger) -> bool:
    """Return whether the job was at work after the line was written, so Redis must have refused it.

    A line of an older version does not tell the attempt, and may stand before Redis refused a
    job that ran: it counts only if the job had ended by then.
    """
    if line.op == line.job_id:
        return False
    if line.attempt is not None:
        return max(job.own, default=0) > line.attempt
    ended = job.ended(_newest(job))
    times = [row.at_s for rows in job.own.values() for row in rows if not _is_checkpoint(row)]
    return _followed(job, ended)[0] not in TERMINAL or max(times, default=0.0) > line.at_s


def _is_checkpoint(line: AttemptLine) -> bool:
    return isinstance(line, CheckpointSaved)


def _newest(job: JobLedger) -> int:
    """Return the newest attempt of this very job; 0 before the first."""
    mine = (line.attempt for line in job.controls)
    return max([0, *job.own, *mine])


def _followed(job: JobLedger, ended: AttemptEnded | None) -> tuple[Status, float]:
    """Return the status, and since when the job has it."""
    status: Status = ended.status if ended else "queued"
    since_s = ended.at_s if ended else job.submitted.created_at_s
    newest = _newest(job)
    for line in job.controls:
        if line.attempt == newest and (line.verb, status) in _AFTER:
            status, since_s = _AFTER[line.verb, status], line.at_s
    return status, since_s


def _failures(job: JobLedger) -> int:
    """Count the failures since the last resume: a resume restores the budget."""
    resumed = max((line.attempt for line in job.controls if line.verb == "resume"), default=0)
    ends = [job.ended(number) for number in job.own if number > resumed]
    return sum(end is not None and end.verb == "fail" for end in ends)


def _checkpoints(
    job: JobLedger, checkpoint_exists: Callable[[CheckpointSaved], bool]
) -> tuple[CheckpointRecord, ...]:
    """Return the checkpoints on the disk, newest last; for each step the latest."""
    by_step: dict[int, CheckpointRecord] = {}
    for number, lines in job.own.items():
        for line in lines:
            if isinstance(line, CheckpointSaved) and checkpoint_exists(line):
                by_step[line.step] = CheckpointRecord(
                    step=line.step,
                    path=line.path,
                    manifest_sha256=line.manifest_sha256,
                    size_bytes=line.size_bytes,
                    attempt=number,
                    created_at_s=line.at_s,
                )
    return tuple(by_step[step] for step in sorted(by_step))


def _progress(
    ended: AttemptEnded | None, checkpoints: Sequence[CheckpointRecord]
) -> dict[str, Any]:
    if ended is not None:
        return ended.progress
    return {"step": checkpoints[-1].step} if checkpoints else {}


def _started_at_s(job: JobLedger) -> float | None:
    for lines in job.own.values():
        for line in lines:
            if isinstance(line, Claimed):
                return line.at_s
    return None


def _attempt(number: int, lines: Sequence[AttemptLine]) -> AttemptRecord:
    claimed = next((line for line in lines if isinstance(line, Claimed)), None)
    ended = next((line for line in lines if isinstance(line, AttemptEnded)), None)
    outcomes = {"complete": "succeeded", "fail": "failed", "release": "released"}
    return AttemptRecord(
        attempt=number,
        worker_id="",
        started_at_s=claimed.at_s if claimed else 0.0,
        ended_at_s=ended.at_s if ended else None,
        outcome=outcomes[ended.verb] if ended else "lost",
        code=ended.code if ended else "worker_lost",
        message=ended.message if ended else "",
    )

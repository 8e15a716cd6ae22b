"""Retention: which files are removed at which age, and which go first for their size.

Never a job that has not ended, what such a job needs, a dataset that is ready, or artifacts. Redis
is asked before the files go, so a kill in between leaves files that the next look removes.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from service import ids
from service.datasets.uploads import empty, is_locked, no_sender
from service.files.disk_usage import folder_bytes
from service.jobs.neighbour_jobs import forget_of_job
from service.ledger.journaled_store import DELETED, JournaledStore, drop
from service.settings import ApiSettings
from service.store.paging import PAGE_ROWS, each_row
from service.store.records import DatasetRecord, JobRecord, Status
from service.store.store import Store
from service.weights.weights_store import WeightsRecord, WeightsStore
from trainer.schema.artifact_names import UPLOAD

Kind = Literal["upload", "log", "checkpoints", "dataset", "job"]
ORDER: tuple[Kind, ...] = ("upload", "log", "checkpoints", "dataset", "job")
"""Order of removal when the total is too large: first what is missed least."""
CALM_S = 60.0
"""Age below which nothing is removed for its size."""
ROTATED = re.compile(r".*\.log\.[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removable:
    """Something that may be removed."""

    kind: Kind
    id: str
    age_s: float
    """Time since it was last in use."""
    size_bytes: int
    kept_s: float | None
    """Age at which it is removed; None: only for its size."""
    remove: Callable[[], object]


@dataclass(frozen=True, slots=True)
class RetentionContext:
    """Context of one retention pass: ledger, store, settings and the time."""

    journal: JournaledStore
    settings: ApiSettings
    now_s: float

    @property
    def store(self) -> Store:
        """Job store."""
        return self.journal.store

    @property
    def data_dir(self) -> Path:
        """Data folder."""
        return self.journal.data_dir


def due(items: Sequence[Removable], *, bytes_max: int | None) -> list[Removable]:
    """Return what to remove: everything past its age, then by size the least useful first."""
    old = [item for item in items if item.kept_s is not None and item.age_s > item.kept_s]
    if bytes_max is None:
        return old
    removed = {id(item) for item in old}
    rest = [item for item in items if id(item) not in removed]
    over = sum(item.size_bytes for item in rest) - bytes_max
    for item in sorted(rest, key=lambda item: (ORDER.index(item.kind), -item.age_s)):
        if over <= 0:
            break
        if item.age_s > CALM_S and item.size_bytes:
            old.append(item)
            over -= item.size_bytes
    return old


def removable(context: RetentionContext) -> Iterator[Removable]:
    """Yield everything that may be removed. Raises StoreError, OSError."""
    for dataset in each_dataset(context.store):
        yield from _of_dataset(context, dataset)
    yield from _of_weights(context)
    for status in ("failed", "cancelled", "succeeded"):
        for job in each_job(context.store, status):
            yield from _of_job(context, job)
    for log in sorted((context.data_dir / "logs").glob("*")):
        if ROTATED.fullmatch(log.name):
            yield Removable(
                kind="log",
                id=log.name,
                age_s=_age_s(context, log),
                size_bytes=folder_bytes(log),
                kept_s=context.settings.log_kept_s,
                remove=partial(log.unlink, missing_ok=True),
            )


def trim_events(context: RetentionContext, trimmed: set[str]) -> int:
    """Remove the events of jobs that ended long ago; `trimmed` has those done."""
    count = 0
    for status in ("failed", "cancelled", "succeeded"):
        for job in each_job(context.store, status):
            key = f"{job.id}:{job.attempt}"
            if key not in trimmed and _ended_ago_s(context, job) > context.settings.event_kept_s:
                count += context.store.jobs.trim_events(job.id)
                trimmed.add(key)
    return count


def each_dataset(store: Store) -> Iterator[DatasetRecord]:
    """Yield all datasets, newest first."""
    return each_row(lambda after: store.datasets.list(after=after, limit=PAGE_ROWS))


def each_job(store: Store, status: Status) -> Iterator[JobRecord]:
    """Yield all trainings of a status, newest first."""
    return each_row(lambda after: store.jobs.list(status=status, after=after, limit=PAGE_ROWS))


def _of_dataset(context: RetentionContext, record: DatasetRecord) -> Iterator[Removable]:
    staged = context.data_dir / "datasets" / record.id / UPLOAD
    size_bytes, settings = folder_bytes(staged), context.settings
    if size_bytes and record.status in ("received", "ready") and not is_locked(staged):
        yield Removable(
            kind="upload",
            id=record.id,
            # An incomplete upload may be resumed, so it is removed for its age only.
            age_s=_age_s(context, staged),
            size_bytes=size_bytes if record.status == "ready" else 0,
            kept_s=settings.upload_kept_s,
            remove=lambda: _empty(context, record, staged),
        )
    if record.status == "failed" or (record.status == "received" and not size_bytes):
        yield Removable(
            kind="dataset",
            id=record.id,
            age_s=context.now_s - _settled_s(context, record),
            size_bytes=folder_bytes(staged.parent),
            kept_s=settings.dataset_unusable_kept_s,
            remove=lambda: _delete_dataset(context, record.id, staged),
        )


def _of_weights(context: RetentionContext) -> Iterator[Removable]:
    """Yield the weights whose upload failed or was never completed; for its age only."""
    weights_store, settings = WeightsStore(context.data_dir), context.settings
    for record in weights_store.list():
        staged = weights_store.staged(record)
        if record.status == "ready" or is_locked(staged):
            continue
        newest = staged if staged.exists() else staged.parent
        yield Removable(
            kind="upload",
            id=record.id,
            age_s=_age_s(context, newest),
            size_bytes=0,
            kept_s=(
                settings.dataset_unusable_kept_s
                if record.status == "failed"
                else settings.upload_kept_s
            ),
            remove=partial(_delete_weights, weights_store, record),
        )


def _delete_weights(weights_store: WeightsStore, record: WeightsRecord) -> None:
    with no_sender(weights_store.staged(record)):
        if weights_store.get(record.id).status != "ready":
            weights_store.delete(record)


def _empty(context: RetentionContext, record: DatasetRecord, staged: Path) -> None:
    """Empty the staged file, unless the dataset was given other content meanwhile."""
    if context.store.datasets.get(record.id).status != record.status:
        return
    kept_s = context.settings.upload_kept_s
    empty(staged, older_s=min(kept_s, CALM_S) if record.status == "ready" else kept_s)


def _delete_dataset(context: RetentionContext, id: str, staged: Path) -> None:
    with no_sender(staged):
        now = context.store.datasets.get(id)
        if now.status == "failed" or (now.status == "received" and not staged.stat().st_size):
            context.journal.delete_dataset(id)


def _settled_s(context: RetentionContext, record: DatasetRecord) -> float:
    """Return the time since which the dataset is unusable."""
    if record.status == "failed" and record.job_id:
        return context.store.jobs.get(record.job_id).finished_at_s or record.created_at_s
    return record.created_at_s


def _of_job(context: RetentionContext, job: JobRecord) -> Iterator[Removable]:
    if not re.fullmatch(ids.JOB_ID, job.id):
        return
    folder, age_s = context.data_dir / "jobs" / job.id, _ended_ago_s(context, job)
    checkpoints = [
        path for path in folder.glob("attempts/*/*") if _is_checkpoints(path, job.attempt)
    ]
    checkpoint_bytes = sum(map(folder_bytes, checkpoints))
    if checkpoints:
        yield Removable(
            kind="checkpoints",
            id=job.id,
            age_s=age_s,
            size_bytes=checkpoint_bytes,
            kept_s=context.settings.checkpoint_kept_s,
            remove=lambda: _drop_checkpoints(context, job.id, checkpoints),
        )
    if job.status != "succeeded" and context.settings.job_kept_s is not None:
        yield Removable(
            kind="job",
            id=job.id,
            age_s=age_s,
            size_bytes=folder_bytes(folder) - checkpoint_bytes,
            kept_s=context.settings.job_kept_s,
            remove=lambda: _delete_job(context, job.id),
        )


def _is_checkpoints(path: Path, attempt: int) -> bool:
    """Return whether it is a folder of checkpoints, whole or half gone, of an attempt so far."""
    number = path.parent.name
    names = ("checkpoints", f"checkpoints{DELETED}")
    return path.name in names and number.isdecimal() and int(number) <= attempt


def _drop_checkpoints(context: RetentionContext, id: str, checkpoints: Sequence[Path]) -> None:
    attempts = context.store.jobs.forget_checkpoints(id)
    for path in checkpoints:
        if int(path.parent.name) <= attempts:  # a later attempt has its own
            drop(path) if path.name == "checkpoints" else shutil.rmtree(path, ignore_errors=True)


def _delete_job(context: RetentionContext, id: str) -> None:
    context.journal.delete(id)
    forget_of_job(context.store, context.data_dir, id)


def _ended_ago_s(context: RetentionContext, job: JobRecord) -> float:
    return context.now_s - (job.finished_at_s or context.now_s)


def _age_s(context: RetentionContext, path: Path) -> float:
    try:
        return context.now_s - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0

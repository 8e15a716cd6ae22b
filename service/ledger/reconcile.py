"""Rebuild of Redis from the ledgers: missing records are restored, existing ones stay."""

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from service.ledger import ledger_writer
from service.ledger.dataset_recovery import finish_dataset_deletions, old_life, restore_datasets
from service.ledger.deletions import settle_deletions, with_deletions
from service.ledger.entries import Deleted
from service.ledger.journaled_store import DELETED, drop
from service.ledger.ledger_reader import Folder, folder_names, read_folders
from service.ledger.replay import JobLedger, superseded
from service.store.chunking import batches
from service.store.rebuild import OldJob, Restored
from service.store.store import Store
from trainer.util.failpoints import failpoint

log = structlog.get_logger("service.ledger")
BATCH_JOBS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Result of a reconciliation."""

    jobs: int
    """Jobs restored, ingests among them."""
    datasets: int
    deleted: int
    """Deletions that a crash had cut short, now done."""
    dropped: int
    """Submits that were never answered and that a later one replaced."""
    damaged: tuple[str, ...]
    """`path:line` of what could not be read."""
    elapsed_s: float


def reconcile(store: Store, data_dir: Path, *, whole: bool = True) -> Report:
    """Restore every job and dataset that the disk knows and Redis does not.

    Open deletions are settled first. Without `whole` only the folders of trainings that Redis
    does not know are read. May be broken off anywhere and run again. Raises StoreUnavailable,
    OSError.
    """
    began_s = time.monotonic()
    _sweep(data_dir)
    dataset_folders = list(read_folders(data_dir, "datasets"))
    names = folder_names(data_dir, "jobs")
    deleted = settle_deletions(store, data_dir, with_deletions(data_dir, names))
    if not whole:
        here = _present(store, names)
        names = [name for name in names if name not in here]
    folders = list(read_folders(data_dir, "jobs", names))
    datasets = restore_datasets(store, data_dir, dataset_folders)
    ingests = _missing(store, _not_deleted(dataset_folders))
    missing = _missing(store, _not_deleted(folders))
    rejected = superseded(missing) | superseded(ingests)
    olds = [old_life(job, data_dir) for job in (*ingests, *missing)]
    olds.sort(key=lambda old: (old.created_at_s, old.id))
    kept = [old for old in olds if old.id not in rejected]
    verdicts = _restore(store, kept)
    taken = [old for old, verdict in zip(kept, verdicts, strict=True) if verdict == "taken"]
    # A job that was attempted was accepted: it stays, and the other job keeps the key.
    verdicts += _restore(store, [replace(old, idem_key="") for old in taken if old.attempt])
    rejected |= {old.id for old in taken if not old.attempt}
    own = {job.submitted.job_id for job in missing}
    for id in rejected & own:
        drop(data_dir / "jobs" / id)
    for job in ingests:
        if job.submitted.job_id in rejected:
            ledger_writer.append(data_dir / job.submitted.folder, _forgotten(job.submitted.job_id))
    deleted += finish_dataset_deletions(store.rebuild.delete_dataset, data_dir, dataset_folders)
    return Report(
        jobs=verdicts.count("made"),
        datasets=datasets,
        deleted=deleted,
        dropped=len(rejected & own),
        damaged=tuple(line for folder in (*dataset_folders, *folders) for line in folder.damaged),
        elapsed_s=time.monotonic() - began_s,
    )


def _sweep(data_dir: Path) -> None:
    """Remove the folders whose removal was cut short."""
    for kind in ("jobs", "datasets", "weights"):
        for doomed in (data_dir / kind).glob(f"*{DELETED}"):
            shutil.rmtree(doomed, ignore_errors=True)


def _restore(store: Store, olds: Sequence[OldJob]) -> list[Restored]:
    verdicts: list[Restored] = []
    for batch in batches(olds, BATCH_JOBS):
        verdicts += store.rebuild.jobs(batch)
        failpoint("reconcile.mid")
    return verdicts


def _not_deleted(folders: Iterable[Folder]) -> list[JobLedger]:
    return [job for folder in folders for job in folder.job_ledgers() if not job.deleted]


def _missing(store: Store, ledgers: Sequence[JobLedger]) -> list[JobLedger]:
    here = _present(store, [job.submitted.job_id for job in ledgers])
    return [job for job in ledgers if job.submitted.job_id not in here]


def _forgotten(job_id: str) -> Deleted:
    return Deleted(job_id=job_id, op=job_id, at_s=time.time())


def _present(store: Store, ids: Sequence[str]) -> set[str]:
    present: set[str] = set()
    for batch in batches(ids, 1000):
        there = store.rebuild.present(batch, what="job")
        present |= {id for id, is_here in zip(batch, there, strict=True) if is_here}
    return present

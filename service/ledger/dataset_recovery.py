"""Restoring datasets from their ledgers, and finishing deletions that were interrupted."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from service.ledger import ledger_writer
from service.ledger.entries import ContentComplete, DatasetCreated, Refused
from service.ledger.journaled_store import drop
from service.ledger.ledger_reader import Folder, checkpoint_exists
from service.ledger.replay import (
    IDEMPOTENCY_S,
    JobLedger,
    dataset_deletion,
    facts_of,
    old_dataset,
    old_job,
    renames,
)
from service.store.chunking import batches
from service.store.rebuild import OldDataset, OldJob
from service.store.records import DatasetRecord
from service.store.store import Store
from service.store.store_errors import DatasetInUse, NotFound

BATCH = 100


class _Claim(NamedTuple):
    """A dataset and its claim on its name; the largest claim has the name."""

    rank: int
    """2: in use; 1: waits for its first bytes; 0: failed; -1: a replacement that is not ready."""
    at_s: float
    record: DatasetRecord
    shelf: Folder


def old_life(job: JobLedger, data_dir: Path) -> OldJob:
    """Return the job as its ledger has it."""
    return old_job(
        job, checkpoint_exists=lambda line: checkpoint_exists(data_dir, line), now_s=time.time()
    )


def restore_datasets(store: Store, data_dir: Path, folders: Sequence[Folder]) -> int:
    """Restore the datasets that Redis does not know; return their number.

    A create that was never accepted, because another dataset had the name, is removed.
    """
    claims = [claim for folder in folders if (claim := _claim(folder, data_dir))]
    ordered = sorted(claims, key=lambda claim: claim[:2])
    holders = {claim.record.name: claim for claim in ordered if claim.rank >= 0}
    made = 0
    for batch in batches(claims, BATCH):
        olds = [_old(claim, holders.get(claim.record.name)) for claim in batch]
        for claim, old, verdict in zip(batch, olds, store.rebuild.datasets(olds), strict=True):
            made += verdict == "made"
            if verdict == "taken" and old.is_open:
                drop(data_dir / claim.shelf.path)
    return made


def finish_dataset_deletions(
    delete: Callable[..., None], data_dir: Path, folders: Iterable[Folder]
) -> int:
    """Let Redis decide every deletion that is open; return how many were carried out.

    `delete` is that of `Datasets` or `Rebuild`. Jobs must be restored before, for one that needs
    the dataset voids the request. Raises StoreUnavailable, OSError; may be called again.
    """
    done = 0
    for folder in folders:
        request = dataset_deletion(folder.lines)
        if request is None:
            continue
        try:
            delete(folder.name, op=request.op)
        except NotFound:
            pass  # forgotten before, and its files are still there
        except DatasetInUse:
            ledger_writer.append(data_dir / folder.path, Refused(op=request.op))
            continue
        drop(data_dir / folder.path)
        done += 1
    return done


def is_open(folder: Folder) -> bool:
    """Return whether the dataset may never have been accepted: nothing came after its create."""
    used = any(isinstance(line, ContentComplete) for line in folder.lines) or folder.job_ledgers()
    return not used and not folder.attempts and not renames(folder.lines)


def _claim(folder: Folder, data_dir: Path) -> _Claim | None:
    ledgers = [job for job in folder.job_ledgers() if not job.deleted]
    ingests = [old_life(job, data_dir) for job in ledgers]
    record = old_dataset(folder.lines, ingests)
    if record is None:
        return None
    if record.status == "ready":
        record = replace(record, facts=facts_of(ledgers[-1]))
    return _Claim(*_strength(folder, record, ingests), record, folder)


def _strength(
    folder: Folder, record: DatasetRecord, ingests: Sequence[OldJob]
) -> tuple[int, float]:
    changed = renames(folder.lines)
    at_s = changed[-1].at_s if changed else record.created_at_s
    if record.replace:
        if record.status != "ready":
            return -1, at_s
        return 2, ingests[-1].finished_at_s or at_s
    if ingests and ingests[-1].status in ("failed", "cancelled"):
        return 0, at_s
    return (1 if is_open(folder) else 2), at_s


def _old(claim: _Claim, holder: _Claim | None) -> OldDataset:
    has_name = claim is holder
    # One that lost its name later had it first, so it was accepted.
    lost_name = holder is not None and holder.rank > claim.rank and holder.at_s > claim.at_s
    created = next(line for line in claim.shelf.lines if isinstance(line, DatasetCreated))
    left_s = created.created_at_s + IDEMPOTENCY_S - time.time()
    return OldDataset(
        record=claim.record,
        named_at_s=claim.at_s if claim.rank > 0 or has_name else None,
        has_name=has_name,
        is_open=is_open(claim.shelf) and not claim.record.replace and not lost_name,
        idem_key=created.idem_key,
        fingerprint=created.fingerprint,
        idem_s=int(max(0.0, left_s)),
    )

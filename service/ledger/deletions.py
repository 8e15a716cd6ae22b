"""Settle deletions that were requested and never answered.

A `deleted` line is written before Redis decides. When the API is killed in between, or Redis does
not answer, the line stays open: here Redis is asked again, under the lock of the ledger. A line
that the job has outlived is refused, so no later rebuild takes it for a deletion.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from service.ledger import ledger_writer
from service.ledger.dataset_recovery import finish_dataset_deletions
from service.ledger.entries import LEDGER, Refused
from service.ledger.journaled_store import JournaledStore, drop
from service.ledger.ledger_reader import read_folder
from service.ledger.replay import JobLedger
from service.store.store import Store
from service.store.store_errors import NotFound, WrongState

_MARK = b'"deleted"'


def with_deletions(data_dir: Path, names: Iterable[str]) -> list[str]:
    """Return those jobs whose ledger names a deletion, open or not. Parses nothing."""
    return [name for name in names if _MARK in _bytes(data_dir / "jobs" / name / LEDGER)]


def settle_deletions(store: Store, data_dir: Path, names: Iterable[str]) -> int:
    """Finish or refuse each open deletion of these jobs; return how many were finished.

    Raises StoreUnavailable, OSError; may be called again.
    """
    return sum(_settle(store, data_dir, f"jobs/{name}") for name in names)


def settle_unanswered(journal: JournaledStore) -> None:
    """Settle the deletions that Redis did not answer. Raises StoreUnavailable, OSError."""
    for name in journal.unsettled.copy():
        settle_deletions(journal.store, journal.data_dir, [name])
        journal.unsettled.discard(name)
    for name in journal.unsettled_datasets.copy():
        folder = read_folder(journal.data_dir, f"datasets/{name}")
        finish_dataset_deletions(journal.store.datasets.delete, journal.data_dir, [folder])
        journal.unsettled_datasets.discard(name)


def _settle(store: Store, data_dir: Path, path: str) -> bool:
    """Settle one folder; return whether it is gone."""
    folder = data_dir / path
    if not folder.is_dir():
        return False
    with ledger_writer.opened(folder, missing_ok=True) as ledger:
        for job in read_folder(data_dir, path).job_ledgers():
            if job.deleted and _forget(store, job, job.deleted.op):
                drop(folder)
                return True
            for line in job.open_deletions:
                ledger.append(Refused(op=line.op))
    return False


def _forget(store: Store, job: JobLedger, op: str) -> bool:
    """Ask Redis to forget the job; return whether it knows the job no more."""
    job_id = job.submitted.job_id
    if store.rebuild.present([job_id], what="job") == [False]:
        return True  # also in a Redis that was emptied, which refuses all other calls
    with suppress(NotFound):
        try:
            store.jobs.delete(job_id, op=op)
        except WrongState:
            return False
    return True


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

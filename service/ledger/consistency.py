"""Compare the ledgers with Redis: every accepted job once, in one state. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from service.ledger.entries import AttemptEnded, DatasetCreated
from service.ledger.ledger_reader import Folder
from service.ledger.replay import JobLedger, dataset_deletion, superseded
from service.store.full_scan import FullScan, JobIndexes
from service.store.keys import line_of

RECONCILE = "Run `moco admin reconcile`."


class Finding(NamedTuple):
    """Violation of an invariant."""

    what: str
    """Code of the violation: `missing_job`, `two_states`, ..."""
    where: str
    """Id of the job or dataset, or a path relative to the data folder."""
    detail: str
    next: str
    """Next step."""


def compare(
    jobs: Sequence[Folder], datasets: Sequence[Folder], scan: FullScan
) -> Iterator[Finding]:
    """Yield every disagreement between the ledgers and the store."""
    kept = [folder for folder in datasets if not dataset_deletion(folder.lines)]
    ledgers = {
        job.submitted.job_id: job for folder in (*jobs, *kept) for job in folder.job_ledgers()
    }
    yield from _damaged((*jobs, *datasets))
    yield from _missing(ledgers, scan)
    yield from _without_folder(ledgers, scan)
    for indexes in scan.jobs.values():
        yield from _state(indexes)
    for name, id in scan.strays:
        yield Finding("stray", id, f"{name} names a job without a record.", "Report it: a bug.")
    for job in ledgers.values():
        yield from _completions(job, scan.jobs.get(job.submitted.job_id))
    yield from _datasets(datasets, scan)


def _damaged(folders: Iterable[Folder]) -> Iterator[Finding]:
    for folder in folders:
        for line in folder.damaged:
            yield Finding(
                "damaged_line", line, "It is no line of a ledger.", "See what wrote there."
            )


def _missing(ledgers: dict[str, JobLedger], scan: FullScan) -> Iterator[Finding]:
    gone = superseded(ledgers.values())
    for id, job in ledgers.items():
        if id not in scan.jobs and not job.deleted and id not in gone:
            yield Finding("missing_job", id, "It is on the disk, not in Redis.", RECONCILE)


def _without_folder(ledgers: dict[str, JobLedger], scan: FullScan) -> Iterator[Finding]:
    for id, indexes in scan.jobs.items():
        # A probe may be lost: someone asks again.
        if id not in ledgers and indexes.record.kind != "probe":
            yield Finding(
                "no_ledger",
                indexes.record.folder,
                f"{id} is in Redis only: a lost Redis would lose it.",
                "It was made by an older version, or its folder was removed: delete the job.",
            )


def _state(indexes: JobIndexes) -> Iterator[Finding]:
    """Check the indexes of one job: ready exactly if queued, leased exactly if running."""
    record = indexes.record
    state = f"It is {record.status}"
    if indexes.statuses != (record.status,) or not indexes.listed:
        names = ", ".join(indexes.statuses) or "no status"
        yield Finding("two_states", record.id, f"{state}, listed under {names}.", "Report it.")
    line = line_of(record.pool, slots=record.slots, nodes=record.nodes)
    wanted = (line,) if record.status == "queued" else ()
    if indexes.ready != wanted:
        detail = f"{state}, and is queued in: {', '.join(indexes.ready) or 'no pool'}."
        yield Finding("wrong_line", record.id, detail, "Report it.")
    if indexes.leased != (record.status in ("running", "stopping")):
        has = "has a" if indexes.leased else "has no"
        yield Finding("wrong_lease", record.id, f"{state}, and {has} lease.", "Report it.")


def _completions(job: JobLedger, indexes: JobIndexes | None) -> Iterator[Finding]:
    ends = [
        line
        for lines in job.own.values()
        for line in lines
        if isinstance(line, AttemptEnded) and line.verb == "complete"
    ]
    id = job.submitted.job_id
    if len(ends) > 1:
        yield Finding("two_completions", id, f"{len(ends)} attempts succeeded.", "Report it.")
    if ends and indexes is not None and indexes.record.status != "succeeded":
        detail = f"It succeeded on the disk and is {indexes.record.status} in Redis."
        yield Finding("lost_completion", id, detail, "Redis lost writes: restore its volume.")


def _datasets(folders: Sequence[Folder], scan: FullScan) -> Iterator[Finding]:
    names = Counter(record.name for record in scan.datasets.values())
    on_disk = {folder.name for folder in folders if folder.lines}
    for folder in folders:
        created = next((line for line in folder.lines if isinstance(line, DatasetCreated)), None)
        if created is None or folder.name in scan.datasets or dataset_deletion(folder.lines):
            continue
        # Without content, another has the name: then it was never accepted.
        if created.name not in names or folder.job_ledgers():
            yield Finding(
                "missing_dataset", folder.name, "It is on the disk, not in Redis.", RECONCILE
            )
    for id in scan.datasets:
        if id not in on_disk:
            yield Finding(
                "no_ledger", id, "The dataset is in Redis only.", "Add it again before Redis goes."
            )

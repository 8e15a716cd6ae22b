"""Jobs that have not ended and began with uploaded weights."""

from service.files.init_weights import ROLE
from service.store.paging import PAGE_ROWS, each_row
from service.store.records import JobRecord, Status
from service.store.store import Store
from service.weights.weights_store import WeightsRecord

LIVE: tuple[Status, ...] = ("queued", "running", "stopping", "paused")


def users_of(record: WeightsRecord, store: Store) -> tuple[str, ...]:
    """Return the ids of jobs that have not ended and began with the weights.

    Each has a copy of its own; they are for a person who would still miss the weights. Raises
    StoreUnavailable.
    """
    jobs = (job for status in LIVE for job in _of_status(store, status))
    return tuple(sorted(job.id for job in jobs if job.inputs.get(ROLE) == record.path))


def _of_status(store: Store, status: Status) -> list[JobRecord]:
    return list(
        each_row(lambda after: store.jobs.list(status=status, after=after, limit=PAGE_ROWS))
    )

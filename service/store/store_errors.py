"""Errors of the store, as one tree. No driver error leaves this package.

StoreError
├── StoreUnavailable      Redis does not answer, or cannot write: try again later
│   └── StoreLost         Redis answers but was emptied: it is rebuilt from the disk
├── Misconfigured         Redis would lose acknowledged writes, so nothing starts
├── Fenced                the lease is over: another attempt may own the job by now
├── NotFound              no such job, dataset or worker
├── WrongState            the job or dataset is in a state that does not allow this
├── IdempotencyConflict   the key was used before with another body
├── NameTaken             a dataset of this name exists
└── DatasetInUse          jobs that have not ended need the dataset
"""

from collections.abc import Sequence

_NAMED_MAX = 5


class StoreError(Exception):
    """The store refuses, and says why."""


class StoreUnavailable(StoreError):
    """Redis does not answer in time, or cannot write."""


class StoreLost(StoreUnavailable):
    """Redis answers, but it was emptied since."""


class Misconfigured(StoreError):
    """Redis is set up such that acknowledged writes can be lost."""


class Fenced(StoreError):
    """The lease is over; nothing was changed."""

    def __init__(self, job_id: str) -> None:
        """`job_id` names the job whose lease is over or belongs to another attempt."""
        super().__init__(f"The lease of {job_id} has expired: stop this attempt.")
        self.job_id = job_id


class NotFound(StoreError):
    """There is no such thing."""

    def __init__(self, what: str, id: str) -> None:
        """`what` is the kind of thing, such as `job`."""
        super().__init__(f"There is no {what} {id!r}.")
        self.what, self.id = what, id


class WrongState(StoreError):
    """The state does not allow the verb."""

    def __init__(self, status: str, verb: str, reason: str) -> None:
        """`reason` is a whole sentence for the user."""
        super().__init__(reason)
        self.status, self.verb, self.reason = status, verb, reason


class IdempotencyConflict(StoreError):
    """The idempotency key was used in the last 24 hours with another body."""

    def __init__(self, key: str) -> None:
        """`key` is the idempotency key as sent."""
        super().__init__("This Idempotency-Key was already used with a different body.")
        self.key = key


class DatasetInUse(StoreError):
    """Jobs that have not ended need the dataset."""

    def __init__(self, dataset_id: str, jobs: Sequence[str]) -> None:
        """`jobs` are the ids of these jobs."""
        super().__init__(f"{len(jobs)} jobs need {dataset_id}: {_few(jobs)}.")
        self.dataset_id, self.jobs = dataset_id, tuple(jobs)


class NameTaken(StoreError):
    """A dataset of this name exists."""

    def __init__(self, name: str, dataset_id: str) -> None:
        """`dataset_id` is the dataset that has the name."""
        super().__init__(f"The name {name!r} belongs to dataset {dataset_id}.")
        self.name, self.dataset_id = name, dataset_id


def _few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")

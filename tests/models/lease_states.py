"""States that `lease_search` goes through: workers, jobs and reports at one moment.

Workers are interchangeable, so their memories are sorted; the end of a lease is dropped from the
record when nobody remembers its token. Ticks are not bounded, only the attempts of a job are.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from tests.support.service.lease_model import Job


class Memory(NamedTuple):
    """Memory of a worker. A claim without a job is one that Redis has forgotten."""

    kind: Literal["idle", "claim", "lease"]
    job: int = -1
    token: tuple[int, int] = (0, 0)
    """(attempt, nonce)."""


class Told(NamedTuple):
    """Facts reported outside of the store about a job: they must remain true."""

    attempt: int = 0
    step: int = -1
    succeeded: bool = False


class Saved(NamedTuple):
    """State on the disk of Redis, if that is behind."""

    jobs: tuple[Job | None, ...]
    ready: tuple[int, ...]
    nonces: frozenset[int | str]


class State(NamedTuple):
    """One moment."""

    jobs: tuple[Job | None, ...]
    ready: tuple[int, ...]
    workers: tuple[Memory, ...]
    told: tuple[Told | None, ...]
    saved: Saved | Literal["not yet", "spent"] = "not yet"


@dataclass(frozen=True)
class Bounds:
    """Sizes of the searched model."""

    jobs: int = 2
    workers: int = 3
    attempts: int = 2
    steps: tuple[int, ...] = (1,)
    max_failures: int = 1
    controls: tuple[str, ...] = ("cancel", "pause", "resume")
    endings: tuple[str, ...] = ("complete", "fail", "retry", "release", "lose")
    rollback: bool = False
    """True if Redis may once lose everything since some moment."""
    nonces: bool = True
    """True if a token holds more than the number of the attempt."""


IDLE: Final = Memory("idle")


def tidied(state: State) -> State:
    """The same for all states that can go on in the same ways."""
    jobs = state.jobs
    for job, record in enumerate(jobs):
        if record is not None and record.ended is not None:
            known = [one for one in state.workers if one.job == job]
            if all(one.token != record.ended.token for one in known):
                jobs = put(jobs, job, record._replace(ended=None))
    return state._replace(jobs=jobs, workers=tuple(sorted(state.workers)))


def nonces_of(state: State) -> frozenset[int | str]:
    """All that somebody may still compare with."""
    found: set[int | str] = {memory.token[1] for memory in state.workers if memory.kind != "idle"}
    for record in filter(None, state.jobs):
        tokens = (record.token, record.ended.token if record.ended else None)
        found |= {token[1] for token in tokens if token is not None}
    if isinstance(state.saved, Saved):
        found |= state.saved.nonces
    return frozenset(found)


def put(row: tuple[Any, ...], at: int, value: object) -> tuple[Any, ...]:
    """`row` with another value at one place."""
    return (*row[:at], value, *row[at + 1 :])

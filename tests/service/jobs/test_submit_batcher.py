"""Submissions that wait together are written together and fail alone; an outage fails all."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.errors import ServiceError
from service.jobs.submit_batcher import BATCH_MAX, SubmitBatcher
from service.ledger.journaled_store import JournaledStore
from service.store.records import DatasetRecord, Submission, Submitted
from service.store.store_errors import IdempotencyConflict, StoreUnavailable
from tests.support.service.api import facts
from trainer.spec.job import JobSpec

READY = DatasetRecord(
    id="ds_1",
    name="d",
    format="auto",
    store_as="pixels",
    status="ready",
    size_bytes=1,
    sha256=None,
    source=None,
    created_at_s=0.0,
    code="",
    message="",
    hint="",
    facts=facts(),
    pack="datasets/ds_1/attempts/1/pack",
    job_id=None,
)


class SlowJournal:
    """Notes its batches; the first one is held until `go`."""

    def __init__(self, answer: Callable[[Submission], Any]) -> None:
        self.batches: list[list[Submission]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.answer = answer
        self.store = SimpleNamespace(datasets=SimpleNamespace(find=self.find))

    def find(self, names: Iterable[str]) -> dict[str, DatasetRecord]:
        return {name: READY for name in names if name == "d"}

    def submit_all(
        self,
        batch: Sequence[Submission],
        *,
        each: object,  # noqa: ARG002
    ) -> list[Submitted | Exception]:
        self.batches.append(list(batch))
        self.begun.set()
        assert self.go.wait(10)
        return [self.answer(one) for one in batch]


def made(one: Submission) -> Submitted:
    return Submitted(job_id=one.job_id, replayed=False)


async def all_of(journal: SlowJournal, *specs: JobSpec, first: JobSpec) -> list[Any]:
    """Return the results of `first`, and of the others that arrive while it is being written."""
    submit_batcher = SubmitBatcher(cast(JournaledStore, journal))
    tasks = [asyncio.create_task(submit_batcher.submit(first, key=None))]
    await asyncio.to_thread(journal.begun.wait, 10)
    tasks += [asyncio.create_task(submit_batcher.submit(one, key="user:k")) for one in specs]
    await asyncio.sleep(0.01)
    journal.go.set()
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    await asyncio.to_thread(submit_batcher.close)
    return found


def test_one_that_comes_alone_waits_for_nobody_and_the_others_go_together() -> None:
    journal = SlowJournal(made)
    spec = JobSpec(dataset="d")
    found = asyncio.run(all_of(journal, *[spec] * (BATCH_MAX + 2), first=spec))
    assert [len(batch) for batch in journal.batches] == [1, BATCH_MAX, 2]
    ids = [one.job_id for batch in journal.batches for one in batch]
    assert [one.job_id for one in found] == ids
    assert ids == sorted(ids, key=lambda id: id[:14]), "ids go with the time"


def test_who_fails_in_a_batch_fails_alone() -> None:
    def answer(one: Submission) -> object:
        return IdempotencyConflict("k") if one.new.name == "twice" else made(one)

    journal = SlowJournal(answer)
    good = JobSpec(dataset="d")
    specs = [good, JobSpec(dataset="nowhere"), JobSpec(dataset="d", name="twice"), good]
    found = asyncio.run(all_of(journal, *specs, first=good))
    kinds = [type(one) for one in found]
    assert kinds == [Submitted, Submitted, ServiceError, IdempotencyConflict, Submitted]
    assert [len(batch) for batch in journal.batches] == [1, 3]


def test_all_who_wait_hear_that_the_store_is_away() -> None:
    journal = SlowJournal(lambda _: StoreUnavailable("no answer"))
    spec = JobSpec(dataset="d")
    found = asyncio.run(all_of(journal, *[spec] * 300, first=spec))
    assert {type(one) for one in found} == {StoreUnavailable}
    assert len(journal.batches) == 1, "one wait for the store is enough for all"


def test_a_mistake_of_ours_leaves_nobody_waiting() -> None:
    def answer(_one: Submission) -> object:
        raise KeyError("oops")

    found = asyncio.run(
        all_of(SlowJournal(answer), JobSpec(dataset="d"), first=JobSpec(dataset="d"))
    )
    assert {type(one) for one in found} == {KeyError}
    with pytest.raises(KeyError):
        raise found[0]

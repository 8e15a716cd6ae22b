"""Batching of submissions: those that wait share one sync of the disk and one call to Redis.

A sync takes milliseconds, whether for one line or for many. While one batch is written the next
one gathers, so the cost per job falls as more arrive. A single submission waits for no other.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service.ids import new_id
from service.jobs.init_sources import InitSource, find_init
from service.jobs.planner import names_in, plan
from service.ledger.journaled_store import JournaledStore
from service.store.records import DatasetRecord, Submission, Submitted
from service.store.store_errors import StoreUnavailable
from trainer.spec.job import JobSpec

SYNCS = 16
"""Folders that wait for the disk at once: its journal takes them as one."""
BATCH_MAX = 128


@dataclass(frozen=True, slots=True)
class _PendingSpec:
    """A submission that waits for its `outcome`."""

    spec: JobSpec
    init: InitSource | None
    key: str | None
    outcome: "asyncio.Future[Submitted]"


class SubmitBatcher:
    """Submits one batch at a time, in its own thread. To be called from one event loop."""

    def __init__(self, journal: JournaledStore) -> None:
        self._journal = journal
        self._waiting: list[_PendingSpec] = []
        self._at_work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="submit-batcher")
        self._syncs = ThreadPoolExecutor(SYNCS, thread_name_prefix="submit-batcher-sync")

    async def submit(self, spec: JobSpec, *, key: str | None) -> Submitted:
        """Plan the job, write it down and queue it; `key` is the Idempotency-Key.

        Raises what `find_init`, `plan` and `JournaledStore.submit` raise.
        """
        loop = asyncio.get_running_loop()
        init = None
        if spec.init_from is not None:  # hashes an encoder at times: no other submission waits
            init = await asyncio.to_thread(find_init, spec, self._journal)
        pending = _PendingSpec(spec, init, key, loop.create_future())
        self._waiting.append(pending)
        if self._at_work is None:
            self._at_work = loop.create_task(self._work())
        return await pending.outcome

    def close(self) -> None:
        """Wait for the batch that is being written."""
        self._thread.shutdown()
        self._syncs.shutdown()

    async def _work(self) -> None:
        """Submit batches until no request waits."""
        loop = asyncio.get_running_loop()
        while batch := self._take(BATCH_MAX):
            outcomes: Sequence[Submitted | Exception]
            try:
                outcomes = await loop.run_in_executor(self._thread, self._outcomes, batch)
            except Exception as error:
                outcomes = [error] * len(batch)
            outages = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
            if outages:  # requests that came meanwhile would wait as long for the same error
                late = self._take(len(self._waiting))
                batch, outcomes = [*batch, *late], [*outcomes, *outages[:1] * len(late)]
            for pending, outcome in zip(batch, outcomes, strict=True):
                _resolve(pending.outcome, outcome)
        self._at_work = None

    def _take(self, count: int) -> list[_PendingSpec]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _outcomes(self, batch: Sequence[_PendingSpec]) -> list[Submitted | Exception]:
        """Submit a batch, in the thread. Raises StoreUnavailable before anything is written."""
        names = (name for pending in batch for name in names_in(pending.spec))
        datasets = self._journal.store.datasets.find(names)
        planned = [_planned(pending, datasets) for pending in batch]
        good = [entry for entry in planned if isinstance(entry, Submission)]
        done = iter(self._journal.submit_all(good, each=self._syncs.map))
        return [next(done) if isinstance(entry, Submission) else entry for entry in planned]


def _planned(
    pending: _PendingSpec, datasets: Mapping[str, DatasetRecord]
) -> Submission | Exception:
    """Plan one submission. Return an exception, so one bad spec does not fail the batch."""
    try:
        planned = plan(pending.spec, datasets, pending.init)
        job_id = new_id("job")
        return Submission(
            new=planned.job(job_id),
            job_id=job_id,
            idempotency_key=pending.key,
            fingerprint=planned.fingerprint() if pending.key else "",
        )
    except Exception as error:
        return error


def _resolve(future: "asyncio.Future[Submitted]", outcome: Submitted | Exception) -> None:
    if future.done():  # its request was cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)

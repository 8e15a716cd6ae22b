"""Reasons why a queued job has not started, from what the workers of its pool last reported."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from service.store.records import JobRecord, Shape, ShapeDepth, WorkerRecord

WAITING_FOR_SLOTS: Final = "waiting_for_slots"


class WaitingReason(NamedTuple):
    """Reason why a queued job has not started."""

    code: str
    message: str
    hint: str

    @property
    def is_blocking(self) -> bool:
        """False if the job starts without anybody doing anything."""
        return self.code != WAITING_FOR_SLOTS


def waiting_reason(job: JobRecord, workers: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return why a queued job has not started; None for others."""
    if job.status != "queued":
        return None
    shape = (job.slots, job.nodes)
    blocked = shape_reason(job.pool, shape, workers)
    return blocked or _for_slots(job)


def shape_reason(pool: str, shape: Shape, workers: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return why no job of this shape in the pool can start; None if one may."""
    return pool_reason(pool, workers) or _size_reason(pool, shape, _live(pool, workers))


def pool_reason(pool: str, workers: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return why no job of the pool can start; None if a worker may take one."""
    live = _live(pool, workers)
    if not live:
        return WaitingReason(
            code="no_worker",
            message=f"No worker serves the {pool} pool.",
            hint=f"Start one: `python -m worker` with MOCO_POOLS={pool}. `moco up` starts workers "
            "for the pools train and ingest. Or submit the job to another pool.",
        )
    if all(worker.state == "draining" for worker in live):
        return _draining(f"All workers of the {pool} pool", live)
    return None


def queue_reasons(
    waiting: Mapping[str, Iterable[Shape]], workers: Sequence[WorkerRecord]
) -> list[WaitingReason]:
    """Return the reasons of all jobs that cannot start: `waiting` has the shapes of each pool."""
    reasons: dict[WaitingReason, None] = {}
    for pool, shapes in sorted(waiting.items()):
        for shape in [(1, 1), *sorted(shapes)]:
            if reason := shape_reason(pool, shape, workers):
                reasons[reason] = None
    return list(reasons)


def count_reasons(
    pool: str, shapes: Mapping[Shape, ShapeDepth], workers: Sequence[WorkerRecord]
) -> dict[str, int]:
    """Return how many queued jobs of the pool wait for each reason."""
    counts: Counter[str] = Counter()
    for shape, line in shapes.items():
        reason = shape_reason(pool, shape, workers)
        counts[reason.code if reason else WAITING_FOR_SLOTS] += line.jobs
    return dict(counts)


def fitting_shapes(
    pool: str, shapes: Mapping[Shape, ShapeDepth], workers: Sequence[WorkerRecord]
) -> dict[Shape, ShapeDepth]:
    """Return the shapes without those that no live worker fits."""
    reasons = {shape: shape_reason(pool, shape, workers) for shape in shapes}
    unfit = {shape for shape, why in reasons.items() if why and why.code == "no_worker_fits"}
    return {shape: line for shape, line in shapes.items() if shape not in unfit}


def idle_workers(
    pool: str, shapes: Iterable[Shape], workers: Sequence[WorkerRecord]
) -> list[WorkerRecord]:
    """Return the pool's idle workers; where jobs wait, those that should be running one of them.

    A worker that fits a job of several nodes may wait for the other workers of its gang.
    """
    idle = [worker for worker in _live(pool, workers) if worker.state == "idle"]
    waiting = list(shapes)
    if not waiting:
        return idle
    singles = [slots for slots, nodes in waiting if nodes == 1]
    gangs = [slots for slots, nodes in waiting if nodes > 1]
    return [
        worker
        for worker in idle
        if any(slots <= worker.slots for slots in singles)
        and all(slots > worker.slots for slots in gangs)
    ]


def _live(pool: str, workers: Sequence[WorkerRecord]) -> list[WorkerRecord]:
    return [worker for worker in workers if worker.state != "lost" and pool in worker.pools]


def _size_reason(pool: str, shape: Shape, live: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return the reason if too few of the pool's live workers have enough slots."""
    slots, nodes = shape
    fitting = [worker for worker in live if worker.slots >= slots]
    if len(fitting) < nodes:
        return _no_worker_fits(pool, shape, live)
    if sum(worker.state != "draining" for worker in fitting) < nodes:
        return _draining(f"Workers of the {pool} pool with {_slots(slots)}", fitting)
    return None


def _no_worker_fits(pool: str, shape: Shape, live: Sequence[WorkerRecord]) -> WaitingReason:
    slots, nodes = shape
    largest = max(worker.slots for worker in live)
    fitting = sum(worker.slots >= slots for worker in live)
    message = (
        f"It needs {_slots(slots)} on one worker; the largest of the {pool} pool has {largest}."
    )
    if nodes > 1:
        message = (
            f"It needs {nodes} workers with {_slots(slots)} each; the {pool} pool has {fitting} "
            f"of that size, and its largest worker has {largest}."
        )
    return WaitingReason(
        code="no_worker_fits",
        message=message,
        hint=f"Submit it again with smaller `resources`, or start "
        f"{'a worker' if nodes == 1 else 'more workers'} with at least {_slots(slots)}.",
    )


def _draining(subject: str, workers: Sequence[WorkerRecord]) -> WaitingReason:
    drained = [worker.id for worker in workers if worker.state == "draining"]
    return WaitingReason(
        code="workers_draining",
        message=f"{subject} are draining: {', '.join(drained[:3])}.",
        hint=f"Let one take jobs again: `moco workers undrain {drained[0]}`.",
    )


def _for_slots(job: JobRecord) -> WaitingReason:
    slots, nodes = job.slots, job.nodes
    if nodes > 1:
        needs = f"{_slots(slots)} on each of {nodes} workers ({job.seats} of {nodes} ready)"
    elif slots > 1:
        needs = f"{slots} slots on one worker"
    else:
        needs = "a slot"
    return WaitingReason(
        code=WAITING_FOR_SLOTS,
        message=f"Number {job.queue_position} in the queue of the {job.pool} pool; "
        f"it waits for {needs}.",
        hint="It starts automatically. Free slots are reserved for the first job in the queue.",
    )


def _slots(count: int) -> str:
    return f"{count} slot{'s' if count > 1 else ''}"

"""Reasons why a job cannot start: no worker takes jobs of its pool."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.store.records import JobRecord, WorkerRecord


class WaitingReason(NamedTuple):
    """Reason why jobs of a pool cannot start."""

    code: str
    message: str
    hint: str


def waiting_reason(job: JobRecord, workers: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return why a queued job cannot start; None for others, and if a worker may take it."""
    return pool_reason(job.pool, workers) if job.status == "queued" else None


def pool_reason(pool: str, workers: Sequence[WorkerRecord]) -> WaitingReason | None:
    """Return why no job of the pool can start; None if a worker may take one."""
    live = [worker for worker in workers if worker.state != "lost" and pool in worker.pools]
    if not live:
        return WaitingReason(
            code="no_worker",
            message=f"No worker serves the {pool} pool.",
            hint=f"Start one: `python -m worker` with MOCO_POOLS={pool}. `moco up` starts workers "
            "for the pools train and ingest. Or submit the job to another pool.",
        )
    if all(worker.state == "draining" for worker in live):
        ids = ", ".join(worker.id for worker in live[:3])
        return WaitingReason(
            code="workers_draining",
            message=f"All workers of the {pool} pool are draining: {ids}.",
            hint=f"Let one take jobs again: `moco workers undrain {live[0].id}`.",
        )
    return None


def pool_reasons(pools: Iterable[str], workers: Sequence[WorkerRecord]) -> list[WaitingReason]:
    """Return the reasons of all pools whose jobs cannot start."""
    reasons = (pool_reason(pool, workers) for pool in sorted(set(pools)))
    return [reason for reason in reasons if reason]

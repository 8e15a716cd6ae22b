"""Routes for the workers and for the queue of jobs."""

import time
from typing import Annotated

from fastapi import APIRouter, Path

from service.api.deps import ServicesDep
from service.api.openapi import refused
from service.api.schemas import examples
from service.api.schemas.service_status import JobQueue, PoolDepth, Worker, WorkerList
from service.server.strict_json import StrictRoute
from service.store.store import Store
from service.store.store_errors import NotFound

router = APIRouter(prefix="/v1", tags=["workers"], route_class=StrictRoute)


@router.get(
    "/workers",
    operation_id="listWorkers",
    summary="List workers",
    response_description="Every worker of the last day.",
)
def workers(services: ServicesDep) -> WorkerList:
    """Return every worker with its state and current job."""
    workers = [Worker.of(worker) for worker in services.store.workers.list()]
    return WorkerList.of(workers, [worker.id for worker in workers])


@router.post(
    "/workers/{id}/drain",
    operation_id="drainWorker",
    summary="Drain a worker",
    status_code=202,
    response_description="The worker accepts no new jobs; its current jobs continue.",
    responses=refused("not_found"),
)
def drain(
    id: Annotated[str, Path(description="Id of a worker.", examples=[examples.WORKER["id"]])],
    services: ServicesDep,
) -> Worker:
    """Drain a worker for maintenance: wait until it is idle, then stop it, or undrain it."""
    _worker(id, services.store)
    services.store.workers.drain(id)
    return _worker(id, services.store)


@router.post(
    "/workers/{id}/undrain",
    operation_id="undrainWorker",
    summary="Undrain a worker",
    response_description="The worker accepts jobs.",
    responses=refused("not_found"),
)
def undrain(
    id: Annotated[str, Path(description="Id of a worker.", examples=[examples.WORKER["id"]])],
    services: ServicesDep,
) -> Worker:
    """Has no effect on a worker that accepts jobs."""
    _worker(id, services.store)
    services.store.workers.undrain(id)
    return _worker(id, services.store)


@router.get(
    "/queue",
    operation_id="getQueue",
    summary="Queue status",
    response_description="Queue depth per pool and number of jobs per status.",
)
def queue(services: ServicesDep) -> JobQueue:
    """Number of queued jobs, and how long the next one has been waiting."""
    pools = set(services.store.jobs.pools())
    for worker in services.store.workers.list():
        pools.update(worker.pools)
    counts = {str(status): number for status, number in services.store.jobs.counts().items()}
    return JobQueue(pools=[_depth(services.store, pool) for pool in sorted(pools)], counts=counts)


def _worker(id: str, store: Store) -> Worker:
    """Raises NotFound."""
    for record in store.workers.list():
        if record.id == id:
            return Worker.of(record)
    raise NotFound("worker", id[:128])


def _depth(store: Store, pool: str) -> PoolDepth:
    depth = store.jobs.depth(pool)
    since = depth.oldest_queued_at_s
    wait_s = None if since is None else max(0.0, time.time() - since)
    return PoolDepth(pool=pool, depth=depth.jobs, oldest_wait_s=wait_s)

"""Schemas of workers, queue, health, version and problems."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, WithJsonSchema

from service.api.schemas import examples
from service.api.schemas.job_history import Listing
from service.api.schemas.jobs_and_datasets import JSON_OBJECT, StatusReason, response_config
from service.store.records import WorkerRecord, WorkerState


class Worker(BaseModel):
    """A worker process."""

    model_config = response_config(examples.WORKER)

    id: str
    """Name."""
    object: Literal["worker"] = "worker"
    """Object type."""
    state: WorkerState
    """Status; `lost` means no heartbeat for the duration of a lease."""
    pools: list[str]
    """Pools that it serves."""
    device: str
    """Compute device."""
    host: str
    """Host name."""
    pid: int
    """Process id on that host."""
    job_id: str | None
    """First of the jobs that it runs now."""
    slots: int
    """Number of slots: one for each GPU, or as set for a CPU. A job holds one for each rank."""
    slots_busy: int
    """Slots that its jobs hold."""
    jobs: list[str]
    """Jobs that it runs now."""
    seen_at: float
    """Last heartbeat, in seconds since 1970."""
    started_at: float
    """Start time, in seconds since 1970."""
    info: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """Other facts, such as versions."""

    @classmethod
    def of(cls, record: WorkerRecord) -> "Worker":
        """Return a record of the store."""
        return cls(
            id=record.id,
            state=record.state,
            pools=list(record.pools),
            device=record.device,
            host=record.host,
            pid=record.pid,
            job_id=record.job_id,
            slots=record.slots,
            slots_busy=record.slots_busy,
            jobs=list(record.jobs) or ([record.job_id] if record.job_id else []),
            seen_at=record.seen_at_s,
            started_at=record.started_at_s,
            info=record.info,
        )


class WorkerList(Listing):
    """Workers seen in the last day."""

    model_config = response_config(examples.listing(examples.WORKER, examples.WORKER["id"]))

    data: list[Worker]
    """The workers."""


class PoolDepth(BaseModel):
    """Queue depth of one pool."""

    model_config = response_config(examples.POOL)

    pool: str
    """Name."""
    depth: int
    """Number of queued jobs."""
    oldest_wait_s: float | None
    """Waiting time of the next job, in seconds; null if the queue is empty."""


class JobQueue(BaseModel):
    """Status of the queue."""

    model_config = response_config(examples.JOB_QUEUE)

    object: Literal["queue"] = "queue"
    """Object type."""
    pools: list[PoolDepth]
    """Pools with workers or jobs."""
    counts: dict[str, int]
    """Status -> number of training jobs."""


class Alive(BaseModel):
    """The process is alive."""

    model_config = response_config(examples.ALIVE)

    status: Literal["ok"] = "ok"
    """Always `ok`; the store is not checked."""


class Ready(BaseModel):
    """The service can work."""

    model_config = response_config(examples.READY)

    status: Literal["ready"] = "ready"
    """Always `ready`; otherwise the response is a problem with status 503."""
    disk_free_bytes: int
    """Free up space in the data folder."""
    warnings: list[StatusReason]
    """Warnings, such as pools without an available worker."""


class Storage(BaseModel):
    """Disk usage of the data folder."""

    model_config = response_config(examples.STORAGE)

    object: Literal["storage"] = "storage"
    """Object type."""
    total_bytes: int
    """Total, as `du` counts it."""
    free_bytes: int
    """Free space on its disk."""
    uses: dict[str, int]
    """Use -> bytes: `uploads`, `packs` (prepared datasets), `weights`, `checkpoints`,
    `artifacts`, the rest of `jobs`, `logs`, `store` (an embedded Redis) and `other`."""


class Version(BaseModel):
    """Version of the service."""

    model_config = response_config(examples.VERSION)

    name: Literal["mocoserve"] = "mocoserve"
    """Service name."""
    version: str
    """Service version."""
    api: Literal["v1"] = "v1"
    """API version."""
    python: str
    """Python version."""


class FieldProblem(BaseModel):
    """One invalid field."""

    model_config = response_config(examples.FIELD_PROBLEM)

    pointer: str
    """`#/optim/lr` in the body (RFC 6901), or `query/limit`, `path/id`, `header/range`."""
    detail: str
    """Explanation of the error."""


class ProblemBody(BaseModel):
    """Error response (RFC 9457, `application/problem+json`)."""

    model_config = response_config(examples.PROBLEM)

    type: str
    """Problem type, a URN that ends in the code."""
    title: str
    """Short summary."""
    status: int
    """HTTP status."""
    detail: str
    """Explanation of this occurrence."""
    instance: str
    """Request path."""
    code: str
    """Machine-readable code."""
    hint: str
    """Next step."""
    request_id: str
    """Request id, also in the service log."""
    errors: list[FieldProblem] | None = None
    """Invalid fields."""
    jobs: list[str] | None = None
    """Ids of the blocking jobs."""

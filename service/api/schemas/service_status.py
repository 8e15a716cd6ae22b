"""What the service says of itself: workers, queue, health, version and problems."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, WithJsonSchema

from service.api.schemas import examples
from service.api.schemas.job_history import Listing
from service.api.schemas.jobs_and_datasets import JSON_OBJECT, StatusReason, response_config
from service.store.models import WorkerRecord, WorkerState


class Worker(BaseModel):
    """A process that runs jobs."""

    model_config = response_config(examples.WORKER)

    id: str
    """Its name."""
    object: Literal["worker"] = "worker"
    """What this is."""
    state: WorkerState
    """`lost` was not heard of for as long as a lease lasts."""
    pools: list[str]
    """Whose jobs it takes."""
    device: str
    """What it computes on."""
    host: str
    """Machine it runs on."""
    pid: int
    """Its process there."""
    job_id: str | None
    """What it runs now."""
    seen_at: float
    """When it was last heard of, in seconds since 1970."""
    started_at: float
    """When it started."""
    info: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """What else it tells of itself, such as versions."""

    @classmethod
    def of(cls, record: WorkerRecord) -> "Worker":
        """As the store has it."""
        return cls(
            id=record.id,
            state=record.state,
            pools=list(record.pools),
            device=record.device,
            host=record.host,
            pid=record.pid,
            job_id=record.job_id,
            seen_at=record.seen_at_s,
            started_at=record.started_at_s,
            info=record.info,
        )


class WorkerList(Listing):
    """Workers that were heard of in the last day."""

    model_config = response_config(examples.listing(examples.WORKER, examples.WORKER["id"]))

    data: list[Worker]
    """The workers."""


class PoolDepth(BaseModel):
    """How much waits in one pool."""

    model_config = response_config(examples.POOL)

    pool: str
    """Its name."""
    depth: int
    """Jobs that wait."""
    oldest_wait_s: float | None
    """How long the next one has been waiting; null if none waits."""


class JobQueue(BaseModel):
    """What waits for a worker."""

    model_config = response_config(examples.JOB_QUEUE)

    object: Literal["queue"] = "queue"
    """What this is."""
    pools: list[PoolDepth]
    """Every pool that has workers or jobs."""
    counts: dict[str, int]
    """Status -> number of training jobs that have it."""


class Alive(BaseModel):
    """The process answers."""

    model_config = response_config(examples.ALIVE)

    status: Literal["ok"] = "ok"
    """Always `ok`; the store is not asked."""


class Ready(BaseModel):
    """The service can work."""

    model_config = response_config(examples.READY)

    status: Literal["ready"] = "ready"
    """Always `ready`; otherwise the answer is a problem with status 503."""
    disk_free_bytes: int
    """Free space in the data folder."""
    warnings: list[StatusReason]
    """Why jobs wait: pools without a worker that takes jobs. Empty when all is well."""


class Storage(BaseModel):
    """Bytes of the data folder on the disk."""

    model_config = response_config(examples.STORAGE)

    object: Literal["storage"] = "storage"
    """What this is."""
    total_bytes: int
    """All of it, as `du` counts it."""
    free_bytes: int
    """Free space on its disk."""
    uses: dict[str, int]
    """Use -> bytes: `uploads` as they were sent, `packs` of datasets, `checkpoints`, `artifacts`,
    the rest of `jobs`, `logs`, `store` (an embedded Redis) and `other`."""


class Version(BaseModel):
    """What runs here."""

    model_config = response_config(examples.VERSION)

    name: Literal["mocoserve"] = "mocoserve"
    """Of the service."""
    version: str
    """Of the service."""
    api: Literal["v1"] = "v1"
    """Of this interface."""
    python: str
    """Of the interpreter."""


class FieldProblem(BaseModel):
    """One field that is wrong."""

    model_config = response_config(examples.FIELD_PROBLEM)

    pointer: str
    """`#/optim/lr` in the body (RFC 6901), or `query/limit`, `path/id`, `header/range`."""
    detail: str
    """What is wrong with it."""


class ProblemBody(BaseModel):
    """Every answer that is not a success (RFC 9457, `application/problem+json`)."""

    model_config = response_config(examples.PROBLEM)

    type: str
    """The kind of problem, as a URN that ends in the code."""
    title: str
    """The kind of problem, for people."""
    status: int
    """The HTTP status again."""
    detail: str
    """What is wrong, and where."""
    instance: str
    """The path that was asked for."""
    code: str
    """The kind of problem, for programs."""
    hint: str
    """What to do next."""
    request_id: str
    """Stands in the service's log as well."""
    errors: list[FieldProblem] | None = None
    """Each field that is wrong."""
    jobs: list[str] | None = None
    """Ids of the jobs that stand in the way."""

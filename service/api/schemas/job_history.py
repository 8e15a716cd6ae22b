"""What the API says of a job beyond the job itself: lists, histories and files."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema

from service.api.schemas import examples
from service.api.schemas.jobs_and_datasets import JSON_OBJECT, Dataset, Job, Sha256, response_config
from service.jobs.planner import PlannedJob
from service.store.models import AttemptRecord, CheckpointRecord
from trainer.schema.events import DataWarning, FileRecord


class Listing(BaseModel):
    """What all lists have in common."""

    model_config = response_config()

    object: Literal["list"] = "list"
    """What this is."""
    has_more: bool = False
    """Whether there is more: ask again with `after` = last_id."""
    first_id: str | None = None
    """Of the first item here; null in an empty list."""
    last_id: str | None = None
    """Of the last item here; null in an empty list."""

    @classmethod
    def of(cls, data: list[Any], names: list[str], *, has_more: bool = False) -> Self:
        """A list of `data`, whose items go by `names`."""
        return cls.model_validate(
            {
                "data": data,
                "has_more": has_more,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        )


class JobList(Listing):
    """Jobs, newest first."""

    model_config = response_config(examples.listing(examples.JOB, examples.JOB["id"]))

    data: list[Job]
    """The jobs."""


class DatasetList(Listing):
    """Datasets, newest first."""

    model_config = response_config(examples.listing(examples.DATASET, examples.DATASET["id"]))

    data: list[Dataset]
    """The datasets."""


class Preview(BaseModel):
    """What a spec would become, without running it."""

    model_config = response_config(examples.PREVIEW)

    object: Literal["job.preview"] = "job.preview"
    """What this is."""
    resolved: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The JobSpec with everything filled in that was left out."""
    reasons: dict[str, str]
    """Dotted field -> why the filled-in value was chosen."""
    steps: int
    """Optimizer steps of the whole job."""
    eta_s: float | None
    """Seconds it should run; null when nothing like it was measured yet."""
    eta_basis: str
    """What the time is taken from."""
    memory_bytes: int
    """Peak memory on the device, estimated from the layers."""
    warnings: list[DataWarning] = Field(default_factory=list)
    """What you should know before it runs, such as views that ask for more than is stored."""

    @classmethod
    def of(cls, planned: PlannedJob) -> "Preview":
        """Return the planned job as it is answered."""
        return cls(
            resolved=planned.resolved,
            reasons=planned.reasons,
            steps=planned.steps,
            eta_s=planned.eta_s,
            eta_basis=planned.eta_basis,
            memory_bytes=planned.memory_bytes,
            warnings=list(planned.warnings),
        )


class EventItem(BaseModel):
    """One entry of a job's stream."""

    model_config = response_config(examples.EVENT)

    id: str
    """Its place: names the entry in `after` and in `Last-Event-ID`."""
    event: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """What happened. `type` tells which: `status`, `started`, `stepped`, `profiled`, ..."""


class EventList(Listing):
    """Events of a job, oldest first."""

    model_config = response_config(examples.listing(examples.EVENT, examples.EVENT["id"]))

    data: list[EventItem]
    """The events."""


class Series(BaseModel):
    """One signal over the steps."""

    model_config = response_config(examples.SERIES)

    step: list[int]
    """Optimizer steps, rising."""
    value: list[float]
    """The value at each of them."""


class Metrics(BaseModel):
    """The curves of a job."""

    model_config = response_config(examples.METRICS)

    object: Literal["metrics"] = "metrics"
    """What this is."""
    job_id: str
    """Whose."""
    series: dict[str, Series]
    """Signal -> its curve, thinned so that first, last and all peaks stay."""
    sampled: bool = False
    """Whether a long history was not read to its end yet, so that peaks may be missing, and
    half of the points where all steps are asked for: ask again in a second."""


class Logs(BaseModel):
    """What an attempt said."""

    model_config = response_config(examples.LOGS)

    object: Literal["logs"] = "logs"
    """What this is."""
    attempt: int
    """Which attempt; 0 if none has said anything."""
    lines: list[str]
    """The last lines, oldest first."""


class Attempt(BaseModel):
    """One lease of a job."""

    model_config = response_config(examples.ATTEMPT)

    attempt: int
    """Its number, from 1."""
    worker_id: str
    """Who ran it."""
    started_at: float
    """Seconds since 1970."""
    ended_at: float | None
    """Null while it runs."""
    outcome: str | None
    """`succeeded`, `failed`, `released` or `lost`; null while it runs."""
    code: str
    """Why it ended, as a word."""
    message: str
    """Why it ended, for people."""

    @classmethod
    def of(cls, record: AttemptRecord) -> "Attempt":
        """As the store has it."""
        return cls(
            attempt=record.attempt,
            worker_id=record.worker_id,
            started_at=record.started_at_s,
            ended_at=record.ended_at_s,
            outcome=record.outcome,
            code=record.code,
            message=record.message,
        )


class AttemptList(Listing):
    """Attempts of a job."""

    model_config = response_config(examples.listing(examples.ATTEMPT, "1"))

    data: list[Attempt]
    """The attempts."""


class Checkpoint(BaseModel):
    """A state of the training to go on from."""

    model_config = response_config(examples.CHECKPOINT)

    step: int
    """Optimizer steps done in it."""
    attempt: int
    """Which attempt wrote it."""
    created_at: float
    """Seconds since 1970."""
    size_bytes: int
    """Of all its files."""
    manifest_sha256: str
    """Of the list of its files, which holds their hashes."""
    available: bool
    """Whether its folder is still there; older ones are removed."""

    @classmethod
    def of(cls, record: CheckpointRecord, *, available: bool) -> "Checkpoint":
        """As the store has it; `available` is read from the disk."""
        return cls(
            step=record.step,
            attempt=record.attempt,
            created_at=record.created_at_s,
            size_bytes=record.size_bytes,
            manifest_sha256=record.manifest_sha256,
            available=available,
        )


class CheckpointList(Listing):
    """Checkpoints of a job, newest first."""

    model_config = response_config(examples.listing(examples.CHECKPOINT, "900"))

    data: list[Checkpoint]
    """The checkpoints."""


class Artifact(BaseModel):
    """A file to download."""

    model_config = response_config(examples.ARTIFACT)

    name: str
    """Of the file."""
    size_bytes: int
    """How large it is."""
    sha256: Sha256
    """Of its bytes, in hexadecimal."""
    url: str
    """Where it is, relative to this service."""

    @classmethod
    def of(cls, job_id: str, record: FileRecord) -> "Artifact":
        """As the job's manifest has it."""
        return cls(
            name=record.name,
            size_bytes=record.size_bytes,
            sha256=record.sha256,
            url=f"/v1/jobs/{job_id}/artifacts/{record.name}",
        )


class ArtifactList(Listing):
    """Files of a job that succeeded."""

    model_config = response_config(examples.listing(examples.ARTIFACT, examples.ARTIFACT["name"]))

    data: list[Artifact]
    """The files."""

"""Schemas of lists, histories and files of jobs."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema

from service.api.schemas import examples
from service.api.schemas.jobs_and_datasets import JSON_OBJECT, Dataset, Job, Sha256, response_config
from service.jobs.planner import PlannedJob
from service.store.records import AttemptRecord, CheckpointRecord
from trainer.schema.events import DataWarning, FileRecord
from trainer.spec.scaling import Scaling


class Listing(BaseModel):
    """Base of all lists."""

    model_config = response_config()

    object: Literal["list"] = "list"
    """Object type."""
    has_more: bool = False
    """True if there is another page: request it with `after` = last_id."""
    first_id: str | None = None
    """Id of the first item; null for an empty list."""
    last_id: str | None = None
    """Id of the last item; null for an empty list."""

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
    """Preview of a job, without running it."""

    model_config = response_config(examples.PREVIEW)

    object: Literal["job.preview"] = "job.preview"
    """Object type."""
    resolved: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The complete JobSpec, with recommended and default values."""
    reasons: dict[str, str]
    """Dotted field -> reason for the recommended value."""
    steps: int
    """Optimizer steps of the whole job."""
    eta_s: float | None
    """Estimated run time in seconds; null if no comparable run was measured yet."""
    eta_basis: str
    """Basis of the time estimate."""
    memory_bytes: int
    """Estimated peak memory on the device."""
    scaling: Scaling
    """Arithmetic of the batch on several GPUs."""
    warnings: list[DataWarning] = Field(default_factory=list)
    """Warnings, such as views larger than the stored images."""

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
            scaling=planned.scaling,
            warnings=list(planned.warnings),
        )


class EventItem(BaseModel):
    """One event of a job."""

    model_config = response_config(examples.EVENT)

    id: str
    """Event id, for `after` and `Last-Event-ID`."""
    event: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """Event data; `type` is `status`, `started`, `stepped`, `profiled`, ..."""


class EventList(Listing):
    """Events of a job, oldest first."""

    model_config = response_config(examples.listing(examples.EVENT, examples.EVENT["id"]))

    data: list[EventItem]
    """The events."""


class Series(BaseModel):
    """One signal over the steps."""

    model_config = response_config(examples.SERIES)

    step: list[int]
    """Optimizer steps, increasing."""
    value: list[float]
    """Value at each step."""


class Metrics(BaseModel):
    """The curves of a job."""

    model_config = response_config(examples.METRICS)

    object: Literal["metrics"] = "metrics"
    """Object type."""
    job_id: str
    """Id of the job."""
    series: dict[str, Series]
    """Signal -> curve, downsampled such that the first point, the last point and all peaks remain.

    """
    sampled: bool = False
    """True if a long history is still being read, so that peaks may be missing, and
    half of the points if all steps are requested: try again in a second."""


class Logs(BaseModel):
    """Log of an attempt."""

    model_config = response_config(examples.LOGS)

    object: Literal["logs"] = "logs"
    """Object type."""
    attempt: int
    """Attempt number; 0 if there is no log yet."""
    lines: list[str]
    """The last lines, oldest first."""


class Attempt(BaseModel):
    """One lease of a job."""

    model_config = response_config(examples.ATTEMPT)

    attempt: int
    """Attempt number, starting at 1."""
    worker_id: str
    """Worker that ran it."""
    started_at: float
    """Seconds since 1970."""
    ended_at: float | None
    """Seconds since 1970; null while it is running."""
    outcome: str | None
    """`succeeded`, `failed`, `released` or `lost`; null while it is running."""
    code: str
    """Machine-readable reason for the outcome."""
    message: str
    """Human-readable reason for the outcome."""

    @classmethod
    def of(cls, record: AttemptRecord) -> "Attempt":
        """Return a record of the store."""
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
    """A training state to resume from."""

    model_config = response_config(examples.CHECKPOINT)

    step: int
    """Optimizer steps completed."""
    attempt: int
    """Attempt that wrote it."""
    created_at: float
    """Seconds since 1970."""
    size_bytes: int
    """Total size of its files."""
    manifest_sha256: str
    """sha256 of the manifest, which contains the hashes of its files."""
    available: bool
    """True if it is still on disk; older checkpoints are removed."""
    is_best: bool
    """True if it has the best value of the signal that `best_by` names."""

    @classmethod
    def of(cls, record: CheckpointRecord, *, available: bool, is_best: bool) -> "Checkpoint":
        """Return a record of the store; `available` is read from the disk."""
        return cls(
            step=record.step,
            attempt=record.attempt,
            created_at=record.created_at_s,
            size_bytes=record.size_bytes,
            manifest_sha256=record.manifest_sha256,
            available=available,
            is_best=is_best,
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
    """File name."""
    size_bytes: int
    """Size in bytes."""
    sha256: Sha256
    """sha256 of the content, in hexadecimal."""
    url: str
    """URL, relative to this service."""

    @classmethod
    def of(cls, job_id: str, record: FileRecord, *, folder: str = "artifacts") -> "Artifact":
        """Return a file of a job; `folder` is that of its URL."""
        return cls(
            name=record.name,
            size_bytes=record.size_bytes,
            sha256=record.sha256,
            url=f"/v1/jobs/{job_id}/{folder}/{record.name}",
        )


class ArtifactList(Listing):
    """Files of a job that succeeded."""

    model_config = response_config(examples.listing(examples.ARTIFACT, examples.ARTIFACT["name"]))

    data: list[Artifact]
    """The files."""

"""Schemas of jobs and datasets, and of the requests about them."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from service import ids
from service.api.schemas import examples
from service.jobs.waiting import WaitingReason, waiting_reason
from service.store.records import (
    DatasetRecord,
    DatasetStatus,
    JobRecord,
    Status,
    WorkerRecord,
)
from trainer.data.spec import USUAL, IngestOptions
from trainer.schema.base import Record
from trainer.schema.choices import SourceFormat, StoredAs
from trainer.schema.events import BestReading, DatasetFacts, Judged, Profiled
from trainer.schema.verdicts import judge
from trainer.spec.signal_tables import FILLS

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
JSON_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}


def response_config(*examples_: dict[str, Any]) -> ConfigDict:
    """The settings of an answer, with its examples."""
    return ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": list(examples_)},
    )


def not_an_id(name: str) -> str:
    """Return `name`, or raise ValueError if it could be mistaken for an id."""
    if name.startswith("ds_"):
        raise ValueError("name must not start with ds_, the prefix of ids")
    return name


class DatasetChange(Record):
    """Changes to a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "cifar10-old"}]})

    name: Annotated[str, Field(pattern=ids.DATASET_NAME)]
    """New name; must not be in use."""

    @field_validator("name")
    @classmethod
    def _no_id(cls, name: str) -> str:
        return not_an_id(name)


class DatasetRequest(Record):
    """A dataset to create: uploaded with PUT, or read in place from an allowed folder."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.NEW_DATASET]})

    name: Annotated[str, Field(pattern=ids.DATASET_NAME)]
    """Name used when submitting jobs. Letters, digits, dot, dash and underscore; must not be in
    use.
    """
    format: SourceFormat = "auto"
    """Format of the content; `auto` detects it from the first bytes. `folder` needs a path."""
    store_as: StoredAs = "pixels"
    """Storage format: `pixels` (fastest), or `jpeg` (a tenth of the disk space, for photos)."""
    options: IngestOptions = USUAL
    """Ingest options and limits. Default: the server's defaults."""
    size_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Size of the content. Required for uploads in several parts."""
    sha256: Sha256 | None = None
    """sha256 of the content, in hexadecimal. If given, the upload is checked against it."""
    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")] | None = None
    """Absolute path of a folder or archive on the server, read in place. Nothing is uploaded."""

    replace: bool = False
    """Take over the name of an existing dataset when this one is ready. The older one keeps its id.

    """

    @field_validator("name")
    @classmethod
    def _no_id(cls, name: str) -> str:
        return not_an_id(name)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is None and self.format == "folder":
            raise ValueError("format folder needs a path; upload an archive instead")
        if self.path is not None and (self.size_bytes is not None or self.sha256 is not None):
            raise ValueError("size_bytes and sha256 belong to an upload, not to a path")
        return self


class StatusReason(BaseModel):
    """Reason for a status."""

    model_config = response_config(examples.REASON)

    code: str
    """Machine-readable code: `oom`, `bad_dataset`, `worker_lost`, `device`, `paused`, ..."""
    message: str
    """Human-readable message."""
    hint: str
    """Next step."""

    @classmethod
    def of(cls, record: JobRecord | DatasetRecord | WaitingReason) -> "StatusReason | None":
        """None when there is nothing to explain."""
        if not record.code:
            return None
        return cls(code=record.code, message=record.message, hint=record.hint)


class DatasetOnDisk(NamedTuple):
    """State of a dataset on the disk: bytes received and stored, and whether more arrive."""

    received_bytes: int
    is_uploading: bool
    stored_bytes: int


class Dataset(BaseModel):
    """Images to train on."""

    model_config = response_config(examples.DATASET)

    id: str
    """Unique id; never changes."""
    object: Literal["dataset"] = "dataset"
    """Object type."""
    name: str
    """Name used when submitting jobs."""
    format: str
    """Declared format of the content."""
    store_as: StoredAs
    """Storage format, as requested."""
    options: IngestOptions
    """Ingest options, including the server's defaults."""
    status: DatasetStatus
    """`received`: waiting for its upload; `preparing`: being ingested; `ready`: can be used for
    training.
    """
    status_reason: StatusReason | None
    """Reason why it failed."""
    size_bytes: int | None
    """Size of the content, if known."""
    received_bytes: int
    """Bytes of the upload received so far."""
    is_uploading: bool
    """True if an upload is in progress."""
    is_current: bool
    """True if its name leads to it. A replacement gets the name once it is ready; from then on the
    older version is found by its id only."""
    stored_bytes: int
    """Disk usage of all its files."""
    sha256: str | None
    """sha256 of the content, if known."""
    created_at: float
    """Seconds since 1970."""
    facts: DatasetFacts | None
    """Facts about the images, when ready."""
    job_id: str | None
    """Ingest job; its events report the progress."""

    @classmethod
    def of(cls, record: DatasetRecord, disk: DatasetOnDisk) -> "Dataset":
        """Return a record of the store, with its sizes on the disk."""
        return cls(
            id=record.id,
            name=record.name,
            format=record.format,
            store_as=record.store_as,
            options=record.options,
            status=record.status,
            status_reason=StatusReason.of(record),
            size_bytes=record.size_bytes,
            received_bytes=disk.received_bytes,
            is_uploading=disk.is_uploading,
            is_current=record.is_current,
            stored_bytes=disk.stored_bytes,
            sha256=record.sha256,
            created_at=record.created_at_s,
            facts=record.facts,
            job_id=record.job_id,
        )


class BadFile(BaseModel):
    """A rejected file."""

    model_config = response_config(examples.BAD_FILE)

    name: str
    """Path inside the archive or folder."""
    reason: str
    """Reason code: `unreadable`, `truncated`, `wrong_type`, `oversize`, `duplicate`, ..."""
    detail: str
    """Human-readable explanation."""


class Report(BaseModel):
    """Rejected files of an ingest."""

    model_config = response_config(examples.REPORT)

    object: Literal["report"] = "report"
    """Object type."""
    counts: dict[str, int]
    """Reason -> number of files, over the full report."""
    data: list[BadFile]
    """One page of files, in the order they were found."""
    has_more: bool
    """True if there is another page: request it with `after` = number of files already seen."""


class Progress(BaseModel):
    """Progress of a job."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [examples.PROGRESS]},
    )

    step: int = 0
    """Optimizer steps done."""
    steps: int | None = None
    """Optimizer steps of the whole job."""
    epoch: float = 0.0
    """Passes over the dataset completed."""
    epochs: float | None = None
    """Passes of the whole job."""
    signals: dict[str, float] = Field(default_factory=dict)
    """Latest value of each training signal."""
    rows_per_s: float | None = None
    """Training speed, in images per second."""
    eta_s: float | None = None
    """Estimated seconds until the end."""
    exact: bool | None = None
    """True if the result will be bit-identical to that of an uninterrupted run."""
    differs: list[str] = Field(default_factory=list)
    """Differences from the run that wrote the checkpoint, if not exact."""
    precision: Literal["fp32", "bf16"] | None = None
    """Precision in use, also for `auto`."""
    profile: Profiled | None = None
    """Time profile, if the spec asks for a `profile`."""
    verdict: Judged | None = None
    """Verdict on the run, with evidence and advice."""
    best: BestReading | None = None
    """Best evaluation so far, if the spec has `best_by`; its checkpoint is kept."""
    ends_early: str = ""
    """Reason why the job ended before its last step, if the spec has `early_stop`."""


def _progress(progress: Mapping[str, Any]) -> Progress:
    """Return how far a job is; a run of an older version is judged by its newest signals."""
    signals, step, steps = (
        progress.get("signals") or {},
        progress.get("step", 0),
        progress.get("steps"),
    )
    if progress.get("verdict") or "loss" not in signals or not steps:
        return Progress(**progress)
    line = {**signals, "epoch": progress.get("epoch", 0.0)}
    judged = judge([line], share=step / steps, fills=FILLS)
    verdict = Judged(
        step=step,
        code=judged.verdict.code,
        kind=judged.verdict.kind,
        word=judged.verdict.word,
        evidence=judged.evidence,
        advice=judged.advice,
    )
    return Progress(**{**progress, "verdict": verdict})


class Job(BaseModel):
    """A training job, or the ingest of a dataset."""

    model_config = response_config(examples.JOB)

    id: str
    """Unique id; never changes."""
    object: Literal["job"] = "job"
    """Object type."""
    name: str
    """Display name."""
    status: Status
    """Current status. `stopping`: saving a checkpoint before it stops."""
    status_reason: StatusReason | None
    """Reason for the status, if any."""
    waiting_reason: StatusReason | None
    """Reason why a queued job has not started: `no_worker`, `workers_draining`, `no_worker_fits`
    (no live worker of its pool has enough slots, or too few do), or `waiting_for_slots`. Given
    when jobs are read; null in the response to a change.
    """
    created_at: float
    """Seconds since 1970."""
    started_at: float | None
    """Start of the first attempt, in seconds since 1970."""
    finished_at: float | None
    """End of the job, in seconds since 1970."""
    attempt: int
    """Number of attempts started; 0 before the first."""
    worker_id: str | None
    """Worker that runs it now."""
    queue_position: int | None
    """Position in the queue, 1 is next; null unless queued."""
    dataset_id: str | None
    """Dataset that it trains on or prepares."""
    spec: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The JobSpec as submitted."""
    resolved: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The complete JobSpec, with recommended and default values."""
    reasons: dict[str, str]
    """Dotted field -> reason for the recommended value."""
    progress: Progress
    """Progress."""
    checkpoint_step: int
    """Step of the newest checkpoint; 0 without one."""
    stored_bytes: int | None = None
    """Disk usage of all its files; only when a single job is requested."""
    version: int
    """Version number; increases with every change."""

    @classmethod
    def of(cls, record: JobRecord, *, workers: Sequence[WorkerRecord] | None = None) -> "Job":
        """Return a record of the store; `workers`, if given, tell why it waits."""
        waits = None if workers is None else waiting_reason(record, workers)
        return cls(
            id=record.id,
            name=record.name,
            status=record.status,
            status_reason=StatusReason.of(waits if waits and waits.is_blocking else record),
            waiting_reason=StatusReason.of(waits) if waits else None,
            created_at=record.created_at_s,
            started_at=record.started_at_s,
            finished_at=record.finished_at_s,
            attempt=record.attempt,
            worker_id=record.worker_id,
            queue_position=record.queue_position,
            dataset_id=record.dataset_id,
            spec=json.loads(record.spec_json),
            resolved=json.loads(record.resolved_json),
            reasons=json.loads(record.reasons_json),
            progress=_progress(record.progress),
            checkpoint_step=record.checkpoint_step,
            version=record.version,
        )

"""What the API says and hears beside the trainer's own words: the JSON of every body."""

import json
from collections.abc import Mapping
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
from service.jobs.waiting import WaitingReason
from service.store.models import (
    DatasetRecord,
    DatasetStatus,
    JobRecord,
    Status,
)
from trainer.data.spec import USUAL, IngestOptions
from trainer.schema.base import Record
from trainer.schema.choices import SourceFormat, StoredAs
from trainer.schema.events import DatasetFacts, Judged, Profiled
from trainer.schema.verdicts import judge

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
        raise ValueError("name may not begin with ds_, as ids do")
    return name


class DatasetChange(Record):
    """Changes to a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "cifar10-old"}]})

    name: Annotated[str, Field(pattern=ids.DATASET_NAME)]
    """Its new name; not taken yet."""

    @field_validator("name")
    @classmethod
    def _no_id(cls, name: str) -> str:
        return not_an_id(name)


class DatasetRequest(Record):
    """A dataset to make: its bytes follow by PUT, or lie under an allowed folder."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.NEW_DATASET]})

    name: Annotated[str, Field(pattern=ids.DATASET_NAME)]
    """What jobs call it. Letters, digits, dot, dash and underscore; not taken yet."""
    format: SourceFormat = "auto"
    """What the content is; auto looks at its first bytes. `folder` needs a path."""
    store_as: StoredAs = "pixels"
    """How rows are kept: `pixels`, the fastest; or `jpeg`, at a tenth of the disk for photos."""
    options: IngestOptions = USUAL
    """How files become rows, and what they may cost. Left out: the server's defaults."""
    size_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Of the content. Told here, an upload may come in several parts."""
    sha256: Sha256 | None = None
    """Of the content, in hexadecimal. Told here, it is checked when the last byte is there."""
    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")] | None = None
    """Absolute path of a folder or archive on the server, read in place. Nothing is uploaded."""

    replace: bool = False
    """Take the name from the dataset that has it, once this one is ready. The older one keeps its
    id."""

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
    """Why something has the status it has."""

    model_config = response_config(examples.REASON)

    code: str
    """A word for programs: `oom`, `bad_dataset`, `worker_lost`, `paused`, ..."""
    message: str
    """What happened, for people."""
    hint: str
    """What to do next."""

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
    """Name that never changes."""
    object: Literal["dataset"] = "dataset"
    """What this is."""
    name: str
    """Name used when submitting jobs."""
    format: str
    """What the content is, as it was told."""
    store_as: StoredAs
    """How its rows are kept, as it was told."""
    options: IngestOptions
    """How its files become rows: as it was told, completed by the server's defaults."""
    status: DatasetStatus
    """`received` waits for bytes, `preparing` is being ingested, `ready` can be trained on."""
    status_reason: StatusReason | None
    """Why it failed."""
    size_bytes: int | None
    """Of the content, if known."""
    received_bytes: int
    """How much of an upload is here."""
    is_uploading: bool
    """Whether somebody is sending bytes at this moment."""
    is_current: bool
    """Whether its name leads to it. A replacement gets the name once it is ready; from then on the
    older version is found by its id only."""
    stored_bytes: int
    """What all its files take on the disk."""
    sha256: str | None
    """Of the content, if known."""
    created_at: float
    """Seconds since 1970."""
    facts: DatasetFacts | None
    """What was found in it, once ready."""
    job_id: str | None
    """The ingest job, whose events tell how far it is."""

    @classmethod
    def of(cls, record: DatasetRecord, disk: DatasetOnDisk) -> "Dataset":
        """As the store has it, with what lies on the disk."""
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
    """A file that is not among the rows."""

    model_config = response_config(examples.BAD_FILE)

    name: str
    """Inside the archive or folder."""
    reason: str
    """A word: `unreadable`, `truncated`, `wrong_type`, `oversize`, `duplicate`, ..."""
    detail: str
    """What was wrong, for people."""


class Report(BaseModel):
    """What an ingest left out, and why."""

    model_config = response_config(examples.REPORT)

    object: Literal["report"] = "report"
    """What this is."""
    counts: dict[str, int]
    """Reason -> number of files, over the whole report."""
    data: list[BadFile]
    """One part of the files, in the order they were found."""
    has_more: bool
    """Whether more follow: ask again with `after` = number of files already seen."""


class Progress(BaseModel):
    """How far a job has come."""

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
    """Passes over the rows done."""
    epochs: float | None = None
    """Passes of the whole job."""
    signals: dict[str, float] = Field(default_factory=dict)
    """The newest value of each training signal."""
    rows_per_s: float | None = None
    """Training speed."""
    eta_s: float | None = None
    """Seconds until the end at this speed."""
    exact: bool | None = None
    """Whether the end will equal that of a run that was never interrupted, bit for bit."""
    differs: list[str] = Field(default_factory=list)
    """What changed since the checkpoint that was resumed from, if not exact."""
    precision: Literal["fp32", "bf16"] | None = None
    """What the job computes in: what `auto` came to on its worker's device."""
    profile: Profiled | None = None
    """Where the time goes, if the spec asks for a `profile`."""
    verdict: Judged | None = None
    """How the run is, with its evidence and what to do next."""


def _progress(progress: Mapping[str, Any]) -> Progress:
    """Return how far a job is; a run of an older version is judged by its newest signals."""
    signals, step, steps = (
        progress.get("signals") or {},
        progress.get("step", 0),
        progress.get("steps"),
    )
    if progress.get("verdict") or "loss" not in signals or not steps:
        return Progress(**progress)
    judged = judge([{**signals, "epoch": progress.get("epoch", 0.0)}], share=step / steps)
    verdict = Judged(
        step=step,
        code=judged.verdict.code,
        kind=judged.verdict.kind,
        word=judged.verdict.word,
        evidence=judged.evidence,
        advice=judged.verdict.advice,
    )
    return Progress(**{**progress, "verdict": verdict})


class Job(BaseModel):
    """A training job, or the ingest of a dataset."""

    model_config = response_config(examples.JOB)

    id: str
    """Name that never changes."""
    object: Literal["job"] = "job"
    """What this is."""
    name: str
    """What people call it."""
    status: Status
    """Where it is in its life. `stopping` is saving a checkpoint before it stops."""
    status_reason: StatusReason | None
    """Why it has this status, if there is something to explain."""
    created_at: float
    """Seconds since 1970."""
    started_at: float | None
    """When its first attempt began."""
    finished_at: float | None
    """When it came to its end."""
    attempt: int
    """Attempts begun; 0 before the first."""
    worker_id: str | None
    """Who runs it now."""
    queue_position: int | None
    """1 is next; null unless queued."""
    dataset_id: str | None
    """What it trains on, or prepares."""
    spec: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The JobSpec as it was sent."""
    resolved: Annotated[dict[str, Any], WithJsonSchema(JSON_OBJECT)]
    """The JobSpec with everything filled in that was left out."""
    reasons: dict[str, str]
    """Dotted field -> why the filled-in value was chosen."""
    progress: Progress
    """How far it is."""
    checkpoint_step: int
    """Step of the newest checkpoint; 0 without one."""
    stored_bytes: int | None = None
    """What all its files take on the disk; told where one job is looked at."""
    version: int
    """Grows with every change."""

    @classmethod
    def of(cls, record: JobRecord, *, waits: WaitingReason | None = None) -> "Job":
        """As the store has it; `waits` is why it cannot start."""
        return cls(
            id=record.id,
            name=record.name,
            status=record.status,
            status_reason=StatusReason.of(waits or record),
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

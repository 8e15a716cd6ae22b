"""Entries of the ledgers: everything needed to rebuild the store from the disk.

A job's ledger holds what the API was asked (`submitted`, `control`, `refused`, `deleted`), each
written before Redis is asked. Each attempt keeps its own in its own folder (`claimed`,
`checkpoint`, `ended`), written after Redis said yes; so does each further worker of a gang. The
ledger of a dataset (`created`, `uploaded`, `renamed`, `dataset_deleted`) is also that of its ingest
jobs. Times are wall-clock seconds, for display only.

Fields that a line does not know are a newer version's, and are kept. Whatever an older version must
not ignore raises `VERSION`: it then refuses the whole ledger.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SerializeAsAny, TypeAdapter, field_validator

from service.store.records import Kind, NewJob, Status
from trainer.data.spec import USUAL, IngestOptions, StoredOptions
from trainer.schema.base import Kept
from trainer.schema.choices import StoredAs
from trainer.schema.events import FileRecord

LEDGER = "ledger.jsonl"
MEMBERS = "members"
"""Folder of a job with `<attempt>/<node rank>` for each further worker of a gang. Node rank 0 alone
makes the folder of the attempt, and writes there."""
VERSION = 1
"""Version of the lines written here, and the highest that can be read."""
Verb = Literal["cancel", "pause", "resume"]


class LedgerLine(Kept):
    """Base of every line of a ledger."""

    version: int = 1
    """Lines from before there were versions are of version 1."""


class JobSubmitted(LedgerLine):
    """Everything that a submit is given."""

    type: Literal["submitted"] = "submitted"
    job_id: str
    kind: Kind
    pool: str
    name: str
    spec_json: str
    resolved_json: str
    reasons_json: str
    inputs: dict[str, str]
    folder: str
    dataset_id: str | None
    max_failures: int
    slots: int = 1
    """Older lines do not tell."""
    nodes: int = 1
    """Older lines do not tell."""
    idem_key: str
    """Empty without one."""
    fingerprint: str
    created_at_s: float

    def as_new(self) -> NewJob:
        """Return the job to submit."""
        return NewJob(**{name: getattr(self, name) for name in NewJob.__slots__})


class Controlled(LedgerLine):
    """A control that is about to be sent to Redis."""

    type: Literal["control"] = "control"
    verb: Verb
    job_id: str
    attempt: int
    """Attempts begun when it was asked."""
    op: str
    """Names this one request."""
    at_s: float


class Deleted(LedgerLine):
    """Redis is about to be asked to forget a job that has ended."""

    type: Literal["deleted"] = "deleted"
    job_id: str
    op: str
    """The job's own id if it was never accepted; Redis is not called then."""
    attempt: int | None = None
    """Attempts begun when it was asked; a later one voids the line. None in older lines."""
    at_s: float


class Refused(LedgerLine):
    """The request `op` changed nothing."""

    type: Literal["refused"] = "refused"
    op: str


class DatasetCreated(LedgerLine):
    """A dataset, before its bytes."""

    type: Literal["created"] = "created"
    dataset_id: str
    name: str
    format: str
    store_as: StoredAs = "pixels"
    """Older lines do not tell."""
    options: SerializeAsAny[IngestOptions] = USUAL
    """Older lines do not tell."""
    size_bytes: int | None
    sha256: str | None
    source: str | None
    replace: bool = False
    """It takes the name from another dataset once it is ready."""
    idem_key: str = ""
    fingerprint: str = ""
    created_at_s: float

    @field_validator("options", mode="before")
    @classmethod
    def _stored(cls, value: object) -> object:
        """Keep the options that only a newer version knows."""
        if isinstance(value, dict):
            return StoredOptions.model_validate_json(json.dumps(value))
        return value


class DatasetRenamed(LedgerLine):
    """Redis is about to be asked to give the dataset another name."""

    type: Literal["renamed"] = "renamed"
    name: str
    op: str
    at_s: float


class DatasetDeleted(LedgerLine):
    """Redis is about to be asked to forget the dataset."""

    type: Literal["dataset_deleted"] = "dataset_deleted"
    dataset_id: str
    op: str
    at_s: float


class ContentComplete(LedgerLine):
    """All bytes of a dataset are on the disk."""

    type: Literal["uploaded"] = "uploaded"
    size_bytes: int
    sha256: str
    at_s: float


class Claimed(LedgerLine):
    """A worker begins this attempt."""

    type: Literal["claimed"] = "claimed"
    job_id: str
    attempt: int
    node_rank: int = 0
    nodes: int = 1
    """Workers that run the attempt together. Each writes to a ledger of its own."""
    at_s: float


class CheckpointSaved(LedgerLine):
    """The job's pointer moved to this checkpoint."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    """Relative to the data folder."""
    manifest_sha256: str
    size_bytes: int
    at_s: float


class AttemptEnded(LedgerLine):
    """The lease ended in order; has the job's status from Redis."""

    type: Literal["ended"] = "ended"
    verb: Literal["complete", "fail", "release"]
    status: Status
    code: str = ""
    message: str = ""
    hint: str = ""
    artifacts: Annotated[tuple[FileRecord, ...], Field(strict=False)] = ()
    artifacts_folder: str | None = None
    """Relative to the data folder."""
    facts_json: str | None = None
    """DatasetFacts of an ingest that succeeded."""
    progress: dict[str, Any] = Field(default_factory=dict)
    """The last reported progress."""
    at_s: float


DatasetLine = DatasetCreated | DatasetRenamed | DatasetDeleted | ContentComplete
JobLine = JobSubmitted | Controlled | Deleted | Refused | DatasetLine
AttemptLine = Claimed | CheckpointSaved | AttemptEnded
Line = JobLine | AttemptLine
JOB_LINE: TypeAdapter[JobLine] = TypeAdapter(Annotated[JobLine, Field(discriminator="type")])
ATTEMPT_LINE: TypeAdapter[AttemptLine] = TypeAdapter(
    Annotated[AttemptLine, Field(discriminator="type")]
)
AnyLine = TypeVar("AnyLine", bound=LedgerLine)


def encode(line: LedgerLine) -> bytes:
    """Return the line as text, with its newline."""
    return line.model_dump_json().encode() + b"\n"

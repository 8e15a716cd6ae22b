"""Records of the store: jobs, leases, datasets and workers.

Times are wall-clock seconds since 1970 and for display only; leases count ticks instead.
Paths are relative to the data folder.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from trainer.data.spec import USUAL, IngestOptions
from trainer.schema.choices import StoredAs
from trainer.schema.events import DatasetFacts, FileRecord

Status = Literal["queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed"]
Kind = Literal["train", "ingest", "probe"]
"""Kind of a job. A probe serves someone who waits: it may be lost, so it has no ledger."""
Desired = Literal["run", "cancel", "pause"]
DatasetStatus = Literal["received", "preparing", "ready", "failed"]
WorkerState = Literal["idle", "busy", "draining", "lost"]
Shape = tuple[int, int]
"""(slots per node, nodes) that a job takes."""

STATUSES: tuple[Status, ...] = (
    "queued",
    "running",
    "stopping",
    "paused",
    "cancelled",
    "succeeded",
    "failed",
)
TERMINAL: frozenset[Status] = frozenset(("cancelled", "succeeded", "failed"))

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job to submit."""

    kind: Kind
    pool: str
    name: str
    spec_json: str
    """Spec as the user sent it."""
    resolved_json: str
    """Spec with all fields set: what the worker runs."""
    reasons_json: str = "{}"
    """Reason for each suggested value."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Role -> path: `dataset`, `test_dataset` (packs) or `source`."""
    folder: str
    """Folder of the job; attempts write under `<folder>/attempts/<n>`."""
    dataset_id: str | None = None
    """Dataset that an ingest prepares, or that a training uses."""
    max_failures: int = 0
    """Failures caused by the user's data or settings that are tried again."""
    slots: int = 1
    """Slots that it takes on each of its nodes."""
    nodes: int = 1
    """Workers that it takes at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A job to queue, with its idempotency key."""

    new: NewJob
    job_id: str
    """Ids must sort by their time."""
    idempotency_key: str | None = None
    fingerprint: str = ""
    """Fingerprint of the body that came with the key."""
    created_at_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """Result of a submit."""

    job_id: str
    replayed: bool
    """True when an earlier submit with this idempotency key made the job."""
    record: "JobRecord | None" = None
    """The job as it is now; None if it was deleted since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """A job as it is now."""

    id: str
    kind: Kind
    pool: str
    name: str
    status: Status
    code: str
    message: str
    hint: str
    created_at_s: float
    started_at_s: float | None
    """Start of the first attempt."""
    finished_at_s: float | None
    attempt: int
    """Attempts begun so far; 0 before the first."""
    failures: int
    """Failures that spent the user's retries."""
    losses: int
    """Attempts that ended through our fault: a lost worker, a full disk."""
    worker_id: str | None
    """Worker that runs it, while it runs."""
    spec_json: str
    resolved_json: str
    reasons_json: str
    inputs: dict[str, str]
    folder: str
    dataset_id: str | None
    progress: dict[str, Any]
    """The last progress that a worker reported."""
    checkpoint: str | None
    """Folder of the newest checkpoint."""
    checkpoint_step: int
    artifacts: tuple[FileRecord, ...]
    artifacts_folder: str | None
    version: int
    """Version number; increases with every change."""
    queue_position: int | None
    """Position in the queue, from 1; None unless queued."""
    slots: int = 1
    """Slots that it takes on each of its nodes."""
    nodes: int = 1
    """Workers that it takes at once."""
    seats: int = 0
    """Workers that wait for the others of its gang, while it is queued."""

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the best value of `best_by`; None without one."""
        best = self.progress.get("best")
        return best["step"] if best else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """Place of a worker in the gang of a job that runs on several nodes."""

    node_rank: int
    """Number of the node, from 0; node rank 0 reports for the job."""
    nodes: int
    endpoint: str
    """`host:port` that the worker of node rank 0 gave, for the ranks to meet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeatTaken:
    """A seat in a gang that is not whole yet. Claim again with the same nonce to keep it."""

    job_id: str
    taken: int
    """Seats that are taken by now."""
    nodes: int
    slots: int
    """Slots that it keeps on this worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """One attempt at a job: the right to write about it until the lease is lost."""

    job_id: str
    kind: Kind
    pool: str
    attempt: int
    token: str
    """Fencing token, `attempt:nonce`. Every call about the job must carry it."""
    spec_json: str
    """Resolved spec."""
    inputs: dict[str, str]
    folder: str
    checkpoints: tuple[str, ...]
    """Checkpoints to resume from, newest first."""
    dataset_id: str | None
    slots: int = 1
    """Slots that it holds on this worker."""
    seat: Seat | None = None
    """Place in its gang; None for a job of one node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRecord:
    """A checkpoint that was complete on the disk when it was reported."""

    step: int
    path: str
    manifest_sha256: str
    size_bytes: int
    attempt: int
    created_at_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRecord:
    """One lease of a job, running or over."""

    attempt: int
    worker_id: str
    started_at_s: float
    ended_at_s: float | None
    outcome: str | None
    """`succeeded`, `failed`, `released`, `lost`; None while it runs."""
    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDataset:
    """A dataset to create."""

    dataset_id: str
    name: str
    format: str = "auto"
    store_as: StoredAs = "pixels"
    options: IngestOptions = USUAL
    size_bytes: int | None = None
    """Size of the content, as announced."""
    sha256: str | None = None
    """Hash of the content, as announced."""
    source: str | None = None
    """A path under an allowed root, when the content is not uploaded."""
    replace: bool = False
    """Take the name from the dataset that has it, once this one is ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedDataset:
    """Result of a create."""

    record: "DatasetRecord"
    replayed: bool = False
    """True if an earlier create with this idempotency key made it."""
    displaced_id: str | None = None
    """A failed dataset that lost the name to this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRecord:
    """A dataset as it is now."""

    id: str
    name: str
    format: str
    store_as: StoredAs
    options: IngestOptions = USUAL
    status: DatasetStatus
    size_bytes: int | None
    """Size of the content, as announced or received."""
    sha256: str | None
    """Hash of the content, as announced or received."""
    source: str | None
    """A path under an allowed root, when the content is not uploaded."""
    created_at_s: float
    code: str
    message: str
    hint: str
    facts: DatasetFacts | None
    pack: str | None
    """Folder of the pack, once ready."""
    job_id: str | None
    """The ingest job."""
    replace: bool = False
    """True if it takes the name from another dataset once it is ready."""
    is_current: bool = False
    """True if its name leads to it, and not to another version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """A worker as it was last seen."""

    id: str
    pools: tuple[str, ...]
    device: str
    host: str
    pid: int
    state: WorkerState
    """Reported `idle` or `busy`; the store answers `draining` and `lost` by itself."""
    job_id: str | None
    seen_at_s: float
    started_at_s: float
    slots: int = 1
    """Number of slots; 1 for a worker of an older version."""
    slots_busy: int = 0
    """Slots that its jobs hold."""
    jobs: tuple[str, ...] = ()
    """Jobs that it runs; `job_id` is the first of them."""
    info: dict[str, Any] = field(default_factory=dict)


class ShapeDepth(NamedTuple):
    """Length of the line of one shape of jobs."""

    jobs: int
    oldest_queued_at_s: float
    """Unix time when its first job was queued."""


class DrainState(NamedTuple):
    """Reply to a heartbeat: what operators want of the worker."""

    draining: bool
    """True if it claims no new job."""
    undrains: int
    """Number of times that it was undrained; a worker that drained a slot itself watches it."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Length of a pool's queue."""

    shapes: dict[Shape, ShapeDepth]
    """Shapes of which a job waits."""

    @property
    def jobs(self) -> int:
        """Number of queued jobs."""
        return sum(line.jobs for line in self.shapes.values())

    @property
    def oldest_queued_at_s(self) -> float | None:
        """Unix time when the oldest queued job was queued; None if the queue is empty."""
        return min((line.oldest_queued_at_s for line in self.shapes.values()), default=None)


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Part of a list, newest first."""

    data: tuple[T_co, ...]
    has_more: bool

"""Typed responses of the API. Lenient: a newer server may say more, and nothing is lost."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed"]
OVER: frozenset[str] = frozenset({"cancelled", "succeeded", "failed"})
"""Statuses that a job leaves only when a user acts."""


class Answer(BaseModel):
    """A JSON object of the API. Unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def raw(self) -> dict[str, Any]:
        """Return plain JSON values, unknown fields included."""
        return self.model_dump(mode="json")


class Reason(Answer):
    """Reason for a status."""

    code: str = ""
    message: str = ""
    hint: str = ""


class SideHistogram(Answer):
    """Histogram of the shorter sides of the original images."""

    edges_px: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()


class DataWarning(Answer):
    """Warning about the data."""

    code: str = ""
    message: str = ""
    hint: str = ""


class ValueMapping(Answer):
    """Mapping of source values to [0, 1]."""

    low: float = 0.0
    high: float = 255.0
    rule: str = "identity"
    scale: float = 1.0
    offset: float = 0.0
    source_dtype: str = "uint8"
    value_min: float | None = None
    value_max: float | None = None
    non_finite: int = 0


class DatasetFacts(Answer):
    """Facts that the ingest found about a dataset."""

    modality: str = "image"
    rows: int = 0
    bad_files: int = 0
    duplicates: int = 0
    labels: tuple[str, ...] = ()
    side_px_min: int = 0
    side_px_median: int = 0
    side_px_max: int = 0
    same_size: bool = False
    channels: int = 3
    dtype: str = "uint8"
    values: ValueMapping | None = None
    splits: dict[str, int] = Field(default_factory=dict)
    masked_rows: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size_bytes: int = 0
    stored_as: str = "pixels"
    sha256: str = ""
    sides_sent: SideHistogram | None = None
    truncated_kept: int = 0
    warnings: tuple[DataWarning, ...] = ()


class Dataset(Answer):
    """Dataset: images that were uploaded or are read in place."""

    id: str
    name: str
    status: str
    format: str = "auto"
    store_as: str = "pixels"
    options: dict[str, Any] = Field(default_factory=dict)
    status_reason: Reason | None = None
    size_bytes: int | None = None
    received_bytes: int | None = None
    is_uploading: bool = False
    is_current: bool = True
    stored_bytes: int | None = None
    sha256: str | None = None
    created_at: float | None = None
    facts: DatasetFacts | None = None
    job_id: str | None = None


class WeightsEncoder(Answer):
    """Encoder that weights fit."""

    name: str
    channels: int = 3
    stem: str | None = None
    patch_px: int | None = None
    side_px: int | None = None


class WeightsFile(Answer):
    """Uploaded weights."""

    id: str
    name: str
    status: str
    status_reason: Reason | None = None
    created_at: float | None = None
    size_bytes: int | None = None
    received_bytes: int = 0
    sha256: str | None = None
    tensors: int = 0
    parameters: int = 0
    encoder: WeightsEncoder | None = None


class BadFile(Answer):
    """A file that is not among the rows of a dataset."""

    name: str
    reason: str
    detail: str = ""


class Report(Answer):
    """Files that are not rows of a dataset, with reasons."""

    counts: dict[str, int] = Field(default_factory=dict)
    data: tuple[BadFile, ...] = ()
    has_more: bool = False


class Phase(Answer):
    """Time of one phase of a step."""

    name: str
    mean_s: float
    share: float


class Profile(Answer):
    """Time profile of a job."""

    steps_measured: int
    step_mean_s: float
    rows_per_s: float
    phases: tuple[Phase, ...]
    bottleneck: str
    sentence: str


class Verdict(Answer):
    """Verdict on a run."""

    code: str
    kind: str
    word: str
    evidence: str = ""
    advice: str = ""


class BestReading(Answer):
    """Best evaluation so far of the signal that `best_by` names."""

    signal: str
    value: float
    step: int
    epoch: float = 0.0


class Progress(Answer):
    """Progress of a job."""

    step: int = 0
    steps: int | None = None
    epoch: float = 0.0
    epochs: float | None = None
    signals: dict[str, float] = Field(default_factory=dict)
    rows_per_s: float | None = None
    eta_s: float | None = None
    exact: bool | None = None
    differs: tuple[str, ...] = ()
    precision: str | None = None
    profile: Profile | None = None
    verdict: Verdict | None = None
    best: BestReading | None = None
    ends_early: str = ""


class Job(Answer):
    """Training of one encoder."""

    id: str
    status: str
    name: str | None = None
    status_reason: Reason | None = None
    waiting_reason: Reason | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    worker_id: str | None = None
    queue_position: int | None = None
    dataset_id: str | None = None
    spec: dict[str, Any] = Field(default_factory=dict)
    resolved: dict[str, Any] | None = None
    reasons: dict[str, str] | None = None
    progress: Progress | None = None
    checkpoint_step: int | None = None
    stored_bytes: int | None = None
    version: int | None = None

    @property
    def over(self) -> bool:
        """True if the job has ended for good."""
        return self.status in OVER


class Scaling(Answer):
    """Arithmetic of sharing a job's batch among GPUs; nothing is measured."""

    gpus: int = 1
    rows_per_gpu: int | None = None
    sent_bytes: int | None = None
    """Bytes that each GPU sends in a step."""
    communication_share: float = 0.0
    """Share of a step in which GPUs only communicate."""
    gpus_limit: int | None = None
    """Largest number of GPUs that share the batch with at most 20 % of communication."""
    assumptions: str = ""


class Preview(Answer):
    """Preview of a job, without running it."""

    resolved: dict[str, Any]
    reasons: dict[str, str] = Field(default_factory=dict)
    steps: int | None = None
    eta_s: float | None = None
    eta_basis: str = ""
    """Basis of the time estimate, or why there is none."""
    memory_bytes: int | None = None
    scaling: Scaling | None = None
    warnings: tuple[DataWarning, ...] = ()


class Event(Answer):
    """One event of a job."""

    id: str
    event: dict[str, Any]

    @property
    def type(self) -> str:
        """Type of the event, such as `stepped` or `status`."""
        return str(self.event.get("type", ""))

    @property
    def ends(self) -> bool:
        """True if no event can follow."""
        return self.type == "status" and self.event.get("status") in OVER


class Series(Answer):
    """One signal over the steps."""

    step: tuple[int, ...] = ()
    value: tuple[float, ...] = ()


class Metrics(Answer):
    """The curves of a job."""

    job_id: str
    series: dict[str, Series] = Field(default_factory=dict)


class Figure(Answer):
    """One figure of an evaluator, with its 95 % interval."""

    name: str
    value: float
    n: int = 0
    """Number of rows, queries or draws that it is taken from."""
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    features: str = "trained encoder"
    """Subject of the measurement: the trained encoder, or one of its baselines."""


class Findings(Answer):
    """Results of one evaluator in one round."""

    step: int = 0
    epoch: float = 0.0
    figures: tuple[Figure, ...] = ()
    tables: dict[str, tuple[dict[str, Any], ...]] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class EvaluatorResult(Answer):
    """Newest result of one evaluator, with its baselines."""

    name: str
    result: Findings | None = None
    baselines: Findings | None = None


class FigureMeaning(Answer):
    """Unit and meaning of a figure."""

    unit: str = ""
    meaning: str = ""
    better: str = ""


class TableMeaning(Answer):
    """Title and columns of a table."""

    title: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    x: str = ""
    y: str = ""


class Evaluation(Answer):
    """Newest results of the evaluators of a job."""

    job_id: str = ""
    evaluators: tuple[EvaluatorResult, ...] = ()
    not_measured: tuple[str, ...] = ()
    figures: dict[str, FigureMeaning] = Field(default_factory=dict)
    """Figure name -> its meaning."""
    tables: dict[str, dict[str, TableMeaning]] = Field(default_factory=dict)
    """Evaluator name -> table name -> title and columns."""


class Logs(Answer):
    """Log of an attempt."""

    attempt: int = 0
    lines: tuple[str, ...] = ()


class Artifact(Answer):
    """One file to download."""

    name: str
    size_bytes: int
    sha256: str
    url: str = ""


class Worker(Answer):
    """Process that runs jobs."""

    id: str
    state: str = ""
    pools: tuple[str, ...] = ()
    device: str = ""
    host: str = ""
    pid: int | None = None
    job_id: str | None = None
    """First of its jobs."""
    slots: int = 1
    """Number of slots; a job holds one for each rank."""
    slots_busy: int = 0
    jobs: tuple[str, ...] = ()
    seen_at: float | None = None
    started_at: float | None = None
    info: dict[str, Any] = {}
    """Other facts; `drained` maps a device that takes no jobs to the reason."""

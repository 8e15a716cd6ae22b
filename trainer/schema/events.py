"""Events of a run, one JSON object per line. Files are only named, never carried."""

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from trainer.schema.base import Kept, Record
from trainer.schema.choices import Alpha, ShrinkFilter, StoredAs


class BestReading(Kept):
    """Evaluation with the best value so far of the signal that a job's `best_by` names."""

    signal: str
    """Signal."""
    value: float
    """Its value."""
    step: int
    """Optimizer steps done; the checkpoint of this step is kept."""
    epoch: float
    """Passes over the dataset done."""


class Started(Record):
    """Start of a run, fresh or resumed from a checkpoint."""

    type: Literal["started"] = "started"
    step: int
    """Optimizer steps already done."""
    steps_planned: int
    steps_per_epoch: int
    rows: int
    device: str
    precision: Literal["fp32", "bf16"] | None = None
    """Precision in use, also for `auto`; null for runs of older versions."""
    exact: bool = True
    """True if the result will be bit-identical to that of an uninterrupted run."""
    differs: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Fields of the fingerprint that changed since the checkpoint, if not exact."""
    best: BestReading | None = None
    """Best evaluation before it, if the job has `best_by`."""


class Stepped(Record):
    """Signals after an optimizer step."""

    type: Literal["stepped"] = "stepped"
    step: int
    epoch: float
    signals: dict[str, float]


class Evaluated(Record):
    """Signals of an evaluation."""

    type: Literal["evaluated"] = "evaluated"
    step: int
    epoch: float
    signals: dict[str, float]
    seconds: dict[str, float] = Field(default_factory=dict)
    """Evaluator -> time that it took in this round; empty in events of older versions."""
    best: BestReading | None = None
    """Best evaluation so far, if the job has `best_by`."""
    ends_early: str = ""
    """Reason why the job ends with this evaluation; empty if it goes on."""


Phase = Literal[
    "gather",
    "copy",
    "views",
    "query",
    "key",
    "loss",
    "backward",
    "signals",
    "optimizer",
    "momentum",
    "enqueue",
    "other",
    "evaluation",
    "checkpoint",
]
"""Parts of a step in their order, then what comes between steps."""


class PhaseTime(Record):
    """Time of one phase."""

    name: Phase
    """Phase name; `other` is the rest of a step."""
    mean_s: float
    """Mean time per step; for evaluation and checkpoint, per call."""
    share: float
    """Share of the step time; for evaluation and checkpoint, of the total time."""


class Profiled(Record):
    """Time profile of an attempt, from its sixth step."""

    type: Literal["profiled"] = "profiled"
    """Object type."""
    step: int
    """Optimizer steps done."""
    steps_measured: int
    """Number of measured steps."""
    step_mean_s: float
    """Mean time of a step."""
    step_median_s: float
    """Median time of the latest steps."""
    rows_per_s: float
    """Images per second, excluding evaluation and checkpoints."""
    phases: Annotated[tuple[PhaseTime, ...], Field(strict=False, max_length=len(get_args(Phase)))]
    """Phases, in the order of a step."""
    bottleneck: Annotated[str, Field(max_length=32)]
    """Name of the bottleneck."""
    sentence: Annotated[str, Field(max_length=600)]
    """Explanation of the bottleneck and how to reduce it."""


class Judged(Record):
    """Verdict on the run: one row of the table in `trainer.schema.verdicts`, with its evidence."""

    type: Literal["judged"] = "judged"
    """Object type."""
    step: int
    """Optimizer steps done."""
    code: Annotated[str, Field(max_length=32)]
    """Verdict code: `healthy`, `collapsed`, `too_early`, ..."""
    kind: Literal["bad", "warn", "busy", "ok"]
    """Severity."""
    word: Annotated[str, Field(max_length=64)]
    """Name to show."""
    evidence: Annotated[str, Field(max_length=600)]
    """Supporting numbers."""
    advice: Annotated[str, Field(max_length=600)]
    """Next step for the user."""


class Checkpointed(Record):
    """Complete checkpoint on disk."""

    type: Literal["checkpointed"] = "checkpointed"
    step: int
    path: str
    """Folder, relative to the out folder of the run."""
    manifest_sha256: str
    size_bytes: int


class Logged(Record):
    """A sentence for people."""

    type: Literal["logged"] = "logged"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class Ingesting(Record):
    """Progress of an ingest."""

    type: Literal["ingesting"] = "ingesting"
    rows_ok: int
    rows_bad: int
    bytes_done: int
    bytes_total: int | None = None


class FileRecord(Kept):
    """One published file."""

    name: str
    size_bytes: int
    sha256: str


class Published(Record):
    """The files of the run are whole in its out folder."""

    type: Literal["published"] = "published"
    folder: str
    """Relative to the out folder: `artifacts`, or `pack` of an ingest."""
    files: Annotated[tuple[FileRecord, ...], Field(strict=False)]


class SideHistogram(Kept):
    """Histogram of the shorter sides of the original images."""

    edges_px: Annotated[tuple[int, ...], Field(strict=False, min_length=2)]
    """Bin edges, increasing; each bin includes its lower edge only."""
    rows: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    """Number of images per bin: one fewer than there are edges."""


class DataWarning(Kept):
    """A warning about a dataset."""

    code: Annotated[str, Field(min_length=1, max_length=64)]
    """Machine-readable code, such as `narrow_content` or `pages_left_out`."""
    message: str
    """Finding, with numbers."""
    hint: str = ""
    """Next step, including the option to use."""


class ValueMapping(Kept):
    """Mapping of source values to [0, 1]."""

    low: float
    """Source value mapped to 0; smaller values are clipped."""
    high: float
    """Source value mapped to 1; larger values are clipped."""
    rule: Literal["identity", "auto", "full", "stated"] = "identity"
    """Rule that chose them: 0 to 255, percentiles 0.1 and 99.9, minimum and maximum, or as given.

    """
    scale: float = 1.0
    """Source value = `stored * scale + offset`."""
    offset: float = 0.0
    """Offset of stored values; see `scale`."""
    source_dtype: str = "uint8"
    """Data type of the source: uint8, uint16, int16, float32 and so on."""
    value_min: float | None = None
    """Smallest value of all pixels."""
    value_max: float | None = None
    """Largest value of all pixels."""
    non_finite: int = 0
    """Number of NaN pixels, replaced by the smallest value."""


class DatasetFacts(Kept):
    """Facts about a prepared dataset."""

    modality: str = "image"
    """Kind of data of the rows: `image`."""
    rows: int
    """Number of images."""
    bad_files: int
    """Rejected files; the report lists them."""
    duplicates: int
    """Files skipped as exact duplicates."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Class names, in index order; empty without labels."""
    label_rows: Annotated[tuple[int, ...] | None, Field(strict=False)] = None
    """Number of images per class, in the same order; null for datasets of older versions."""
    side_px_min: int = 0
    """Shorter side of the smallest image."""
    side_px_median: int = 0
    """Shorter side of the median image."""
    side_px_max: int = 0
    """Longer side of the largest image."""
    same_size: bool = False
    """True if all images have one height and one width."""
    channels: int = 3
    """Channels per image."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Data type of the stored values."""
    values: ValueMapping | None = None
    """Mapping of pixel values; null (0 to 255) for datasets of older versions."""
    mean: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """Mean per channel, in [0, 1], after the value mapping."""
    std: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """Standard deviation per channel, on the same scale."""
    splits: dict[str, int] = Field(default_factory=dict)
    """Number of images in `train`, `val` and `test`; empty if the source has no splits."""
    timed_rows: int | None = None
    """Number of images with a sequence and a time; null for datasets of older versions."""
    paired_rows: int | None = None
    """Number of images that share a pair with another; null for datasets of older versions."""
    masked_rows: int | None = None
    """Number of images with a mask; null for datasets of older versions."""
    size_bytes: int
    """Size of the prepared dataset."""
    stored_as: StoredAs = "pixels"
    """Storage format: raw pixels, or JPEG that is decoded at every read."""
    stored_side_px: int = 256
    """Images with a longer shorter side were downscaled to this."""
    shrink_filter: ShrinkFilter = "bilinear"
    """Downscaling filter."""
    alpha: Alpha = "white"
    """Transparency: blended onto white, or alpha channel dropped."""
    sha256: str
    """sha256 of the manifest: equal hashes mean equal images."""
    sides_sent: SideHistogram | None = None
    """Sizes of the original images; null for datasets of older versions."""
    truncated_kept: int = 0
    """Images from truncated files; the missing part is gray."""
    warnings: Annotated[tuple[DataWarning, ...], Field(strict=False)] = ()
    """Warnings to read before training."""


class Ended(Record):
    """The run is over: the last event, and the result file."""

    type: Literal["ended"] = "ended"
    outcome: Literal["succeeded", "stopped", "failed"]
    code: str = "ok"
    """`ok`, `stopped`, or the code of the error."""
    message: str = ""
    hint: str = ""
    step: int = 0
    facts: DatasetFacts | None = None
    """Facts of a successful ingest."""


Event = Annotated[
    Started
    | Stepped
    | Evaluated
    | Profiled
    | Judged
    | Checkpointed
    | Logged
    | Ingesting
    | Published
    | Ended,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

"""What a run tells the world, one JSON object a line. Files are only named, never carried."""

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from trainer.schema.base import Kept, Record
from trainer.schema.choices import Alpha, ShrinkFilter, StoredAs


class Started(Record):
    """The run begins, or goes on from a checkpoint."""

    type: Literal["started"] = "started"
    step: int
    """Optimizer steps already done."""
    steps_planned: int
    steps_per_epoch: int
    rows: int
    device: str
    precision: Literal["fp32", "bf16"] | None = None
    """What the run computes in; `auto` was resolved by the device. Older runs do not tell."""
    exact: bool = True
    """Whether the end will equal that of an uninterrupted run, bit for bit."""
    differs: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Fields of the fingerprint that changed since the checkpoint, if not exact."""


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
    """What one phase costs."""

    name: Phase
    """Which; `other` is what a step does besides."""
    mean_s: float
    """In each step; of evaluation and checkpoint, each time."""
    share: float
    """Part of the steps' time; of evaluation and checkpoint, of the whole time."""


class Profiled(Record):
    """Where the time of an attempt goes, from its sixth step on."""

    type: Literal["profiled"] = "profiled"
    """What this is."""
    step: int
    """Optimizer steps done."""
    steps_measured: int
    """Steps that the times are those of."""
    step_mean_s: float
    """One step."""
    step_median_s: float
    """One step, the middle one of the newest."""
    rows_per_s: float
    """Rows of the steps over their time; evaluation and checkpoints left out."""
    phases: Annotated[tuple[PhaseTime, ...], Field(strict=False, max_length=len(get_args(Phase)))]
    """Those that took place, in the order of a step."""
    bottleneck: Annotated[str, Field(max_length=32)]
    """What to look at first, in a word."""
    sentence: Annotated[str, Field(max_length=600)]
    """What that is, and what would change it."""


class Judged(Record):
    """Verdict on the run: one row of the table in `trainer.schema.verdicts`, with its evidence."""

    type: Literal["judged"] = "judged"
    """What this is."""
    step: int
    """Optimizer steps done."""
    code: Annotated[str, Field(max_length=32)]
    """Which verdict: `healthy`, `collapsed`, `too_early`, ..."""
    kind: Literal["bad", "warn", "busy", "ok"]
    """How grave it is."""
    word: Annotated[str, Field(max_length=64)]
    """What it is called."""
    evidence: Annotated[str, Field(max_length=600)]
    """The numbers that speak for it."""
    advice: Annotated[str, Field(max_length=600)]
    """What to do next."""


class Checkpointed(Record):
    """A checkpoint lies whole on the disk."""

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
    """How far an ingest has come."""

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
    """Histogram of the shorter sides of images, before any was shrunk."""

    edges_px: Annotated[tuple[int, ...], Field(strict=False, min_length=2)]
    """Bounds of the bins, rising; a bin holds its lower bound and not its upper one."""
    rows: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    """Images in each bin: one number less than there are bounds."""


class DataWarning(Kept):
    """Something about a dataset that a person should know before training on it."""

    code: Annotated[str, Field(min_length=1, max_length=64)]
    """A word for programs, such as `narrow_content` or `pages_left_out`."""
    message: str
    """What was seen, with figures."""
    hint: str = ""
    """What to do next, with the name of the option."""


class ValueMapping(Kept):
    """Which values of the source are seen as 0 and as 1."""

    low: float
    """Seen as 0, like every smaller value."""
    high: float
    """Seen as 1, like every larger value."""
    rule: Literal["identity", "auto", "full", "stated"] = "identity"
    """How the two were found: 0 to 255, percentiles 0.1 and 99.9, extremes, or as asked for."""
    scale: float = 1.0
    """A value of the source is `stored * scale + offset`."""
    offset: float = 0.0
    """See `scale`."""
    source_dtype: str = "uint8"
    """How the source keeps its values: uint8, uint16, int16, float32 and so on."""
    value_min: float | None = None
    """Smallest value of all pixels."""
    value_max: float | None = None
    """Largest value of all pixels."""
    non_finite: int = 0
    """Pixels that are no number, which became the smallest value."""


class DatasetFacts(Kept):
    """What is known of a pack without opening it."""

    rows: int
    """Images that can be trained on."""
    bad_files: int
    """Files left out because they could not be used; the report names them."""
    duplicates: int
    """Files left out because their bytes were there already."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Class names in the order of their numbers; empty without labels."""
    label_rows: Annotated[tuple[int, ...] | None, Field(strict=False)] = None
    """Rows of each class, in the same order; packs of older versions do not tell."""
    side_px_min: int
    """Shorter side of the smallest image."""
    side_px_median: int
    """Shorter side of the median image."""
    side_px_max: int
    """Longer side of the largest image."""
    same_size: bool
    """Whether all images have one height and one width."""
    channels: int = 3
    """Of each row."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Of the values that are kept."""
    values: ValueMapping | None = None
    """How values are seen; packs of older versions do not tell: 0 to 255."""
    mean: Annotated[tuple[float, ...], Field(strict=False)]
    """Of each channel, in [0, 1], after the mapping of values."""
    std: Annotated[tuple[float, ...], Field(strict=False)]
    """Of each channel, on the same scale."""
    splits: dict[str, int] = Field(default_factory=dict)
    """Rows of `train`, `val` and `test`; empty where the source names no splits."""
    size_bytes: int
    """Of the pack."""
    stored_as: StoredAs = "pixels"
    """Whether rows are kept as they are trained on, or as JPEG, decoded whenever they are read."""
    stored_side_px: int = 256
    """Images whose shorter side was longer were shrunk to it."""
    shrink_filter: ShrinkFilter = "bilinear"
    """Filter that shrank them."""
    alpha: Alpha = "white"
    """What became of see-through pixels: laid on white, or their alpha dropped."""
    sha256: str
    """Of the pack's manifest: two packs with one hash hold the same rows."""
    sides_sent: SideHistogram | None = None
    """How large the images were as they were sent; packs of older versions do not tell."""
    truncated_kept: int = 0
    """Rows whose file was cut off at the end: the missing part is grey."""
    warnings: Annotated[tuple[DataWarning, ...], Field(strict=False)] = ()
    """What a person should know before training on it."""


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
    """Of an ingest that succeeded."""


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

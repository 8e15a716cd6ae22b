"""The settings of the evaluation of geometry."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal


class GeometrySpec(Record):
    """Distribution of the embeddings on the unit sphere, and search of one view by another.

    Needs no labels. `projection` is what the loss shapes, and what RankMe was defined on.
    """

    name: Literal["geometry"]
    """Evaluator name."""
    feature: Literal["projection", "backbone"] = "projection"
    """Embedding after the projection head, or the encoder output, which you download."""
    rows: Annotated[int, Field(ge=2, le=10_000)] = 2_000
    """Maximum number of images, from the test dataset or the split test where there is one."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: about 20 rounds."""
    baselines: bool | None = None
    """Also evaluate raw input and the untrained encoder once. Default: yes."""


class ResolvedGeometrySpec(GeometrySpec):
    """Geometry with every value."""

    every_epochs: int
    baselines: bool


SIGNALS = {
    "alignment": Signal(
        "1",
        "mean squared distance of two views of an image, on the unit sphere (0 to 4)",
        "alignment",
        better="down",
    ),
    "uniformity": Signal(
        "nats",
        "log of the mean of exp(-2 d^2) over pairs of images: lower is more evenly spread",
        "uniformity",
        better="down",
    ),
    "rankme": Signal(
        "dimensions", "effective rank of the embeddings (RankMe)", "rankme", better="up"
    ),
    "instance_hit_at_1": Signal(
        "ratio",
        "share of images whose first view finds its second view first among those of all",
        "instance_hit_at_1_ratio",
        better="up",
    ),
    "instance_hit_at_1_raw": Signal(
        "ratio",
        "baseline: instance_hit_at_1 of raw input, at most 32 px",
        "instance_hit_at_1_raw_ratio",
    ),
    "instance_hit_at_1_untrained": Signal(
        "ratio",
        "baseline: instance_hit_at_1 of the untrained encoder",
        "instance_hit_at_1_untrained_ratio",
    ),
}
"""Signals of its rounds."""
HEADLINES = ("instance_hit_at_1",)
"""Signals that baselines have too."""
TABLES: dict[str, Table] = {}
"""Tables of its rounds."""
ADVICE = "measure fewer images, with a smaller `{field}.rows`, or a larger `{field}.every_epochs`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

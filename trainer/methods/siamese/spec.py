"""The settings of Siamese pairs, and their name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind
from trainer.schema.signals import Setting, Signal

UNIT_DISTANCE_MAX = 2.0
"""Greatest distance of unit vectors."""


class SiameseSpec(Record):
    """Alike pairs near, other pairs at least a margin apart (Hadsell, Chopra and LeCun, 2006).

    Each image is in one alike pair, with its positive, and in one with an image of another label,
    drawn by the order of the batch. Use it with `positives: label`; without labels the two views of
    an image are alike.
    """

    takes_more_views: ClassVar[bool] = True
    """The loss of more than two views is the mean over their pairs."""

    name: Literal["siamese"] = "siamese"
    """Method name."""
    margin: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    """Distance from which a pair of other images has no loss."""
    normalize: bool = True
    """Compare unit vectors, with a margin of at most 2. False: embeddings of any length, as in the
    paper, which need a lower learning rate: at the default one they shrink to a point."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 64
    """Embedding dimension."""
    bn: BatchNormKind = "plain"
    """`plain` computes batch norm over both views of the batch of one process; `sync` over those of
    all processes; `split` in groups of rows, as processes do that share no statistics."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in, with both views of each row; 1: all."""
        return self.bn_splits if self.bn == "split" else 1

    @model_validator(mode="after")
    def _margin_is_within_reach(self) -> "SiameseSpec":
        """Raise PydanticCustomError if no unit vectors are as far apart as the margin."""
        if self.normalize and self.margin > UNIT_DISTANCE_MAX:
            raise PydanticCustomError(
                "far_margin",
                "unit vectors are at most 2 apart, less than the margin; use a margin of at most "
                "2, or normalize false",
                {},
            )
        return self


TITLE = "Siamese pairs"
"""Name in texts."""
READING = "The loss of a healthy run falls from the start, toward 0."
"""Sentence on how to read its loss."""
SIGNALS = {
    "pair_accuracy_ratio": Signal(
        "ratio",
        "share of the batch's pairs on the right side of half the margin",
        "pair_accuracy_ratio",
    ),
}
"""Signals beside the common ones."""
SETTINGS: dict[str, Setting] = {}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

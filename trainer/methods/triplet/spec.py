"""The settings of triplets, and their name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind
from trainer.schema.signals import Setting, Signal


class TripletSpec(Record):
    """Each positive nearer than each negative by a margin (arXiv:1503.03832, arXiv:1703.07737).

    Use it with `positives: label` and balanced batches; without labels the two views of an image
    are the positives.
    """

    takes_more_views: ClassVar[bool] = True
    """Triplets are those of all views, however many."""

    name: Literal["triplet"] = "triplet"
    """Method name."""
    mining: Literal["semi_hard", "batch_hard", "all"] = "semi_hard"
    """Triplets of a batch: for each pair the nearest negative farther than the positive, else the
    farthest (`semi_hard`); the farthest positive and nearest negative of each view (`batch_hard`,
    which tends to collapse from random weights); or `all` with a loss."""
    margin: Annotated[float, Field(gt=0.0, le=4.0)] = 0.2
    """Distance by which a negative is to be farther than a positive."""
    squared: bool | None = None
    """Compare squared distances of unit vectors, 0 to 4. Default: yes, but for `batch_hard`."""
    soft: bool = False
    """Replace the margin by softplus; for `batch_hard` alone."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 128
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
    def _soft_is_of_batch_hard(self) -> "TripletSpec":
        """Raise PydanticCustomError if `soft` is asked of another way to choose triplets."""
        if self.soft and self.mining != "batch_hard":
            raise PydanticCustomError(
                "soft_mining", "soft needs mining batch_hard; set it, or leave soft out", {}
            )
        return self


class ResolvedTripletSpec(TripletSpec):
    """Triplets with every value."""

    squared: bool


TITLE = "Triplets"
"""Name in texts."""
READING = (
    "The loss of a healthy run falls from the start and may reach 0. With batch_hard it rests at "
    "the margin (soft: ln 2) if all embeddings have become one point."
)
"""Sentence on how to read its loss."""
SIGNALS = {
    "active_triplets_ratio": Signal(
        "ratio", "share of the chosen triplets that still have a loss", "active_triplets_ratio"
    ),
}
"""Signals beside the common ones."""
SETTINGS: dict[str, Setting] = {}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`, which also means fewer triplets"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

"""The settings of supervised contrast, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind
from trainer.schema.signals import Setting, Signal


class SupConSpec(Record):
    """Contrast in which all images of a label in the batch are positives (arXiv:2004.11362).

    Use it with `positives: label`; without labels each image has one positive, as in SimCLR.
    """

    takes_more_views: ClassVar[bool] = True
    """All views of a label are positives of each other, however many."""

    name: Literal["supcon"] = "supcon"
    """Method name."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Temperature T of the loss. Default: chosen from the image size."""
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


class ResolvedSupConSpec(SupConSpec):
    """Supervised contrast with every value."""

    temperature: float


TITLE = "SupCon"
"""Name in texts."""
READING = "The loss of a healthy run falls from the start, and stays above 0 with many positives."
"""Sentence on how to read its loss."""
SIGNALS = {
    "anchors_without_positive_ratio": Signal(
        "ratio",
        "share of images with no other image of their label in the batch",
        "anchors_without_positive_ratio",
    ),
}
"""Signals beside the common ones."""
SETTINGS = {"temperature": Setting("temperature", "temperature T of the loss")}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`, which also means fewer negatives"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

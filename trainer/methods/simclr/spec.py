"""The settings of SimCLR, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind, HeadBatchNorm, OwnWidth
from trainer.schema.signals import Setting, Signal


class SimCLRSpec(Record):
    """Contrast within the batch, without a queue or a key encoder (arXiv:2002.05709)."""

    takes_more_views: ClassVar[bool] = True
    """The loss of more than two views is the mean over their pairs."""

    name: Literal["simclr"] = "simclr"
    """Method name."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Temperature T of NT-Xent. Default: chosen from the image size."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 128
    """Embedding dimension."""
    head_hidden: OwnWidth = "features"
    """Width of the head's hidden layers; `features` for that of the features."""
    head_layers: Annotated[int, Field(ge=2, le=4)] = 2
    """Layers of the projection head."""
    head_batch_norm: HeadBatchNorm = "hidden"
    """Batch norm in the head: after each hidden layer, after all layers, or none."""
    decoupled: bool = False
    """Leave the positive out of the denominator (arXiv:2110.06848): better with small batches."""

    bn: BatchNormKind = "plain"
    """`plain` computes batch norm over both views of the batch of one process; `sync` over those of
    all processes; `split` in groups of rows, as processes do that share no statistics."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in, with both views of each row; 1: all."""
        return self.bn_splits if self.bn == "split" else 1

    @property
    def head_has_batch_norm(self) -> bool:
        """True if the projection head has batch norm."""
        return self.head_batch_norm != "none"


class ResolvedSimCLRSpec(SimCLRSpec):
    """SimCLR with every value."""

    temperature: float


TITLE = "SimCLR"
"""Name in texts."""
READING = "The loss of a healthy run falls from the start."
"""Sentence on how to read its loss."""
SIGNALS: dict[str, Signal] = {}
"""Signals beside the common ones."""
SETTINGS = {"temperature": Setting("temperature", "temperature T of the loss")}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`, which also means fewer negatives"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

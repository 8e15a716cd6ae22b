"""Settings of heads, predictors and target encoders that several methods share."""

from typing import Annotated

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.choices import (
    BatchNormGroups,
    BatchNormKind,
    HeadBatchNorm,
    HeadWidth,
    MomentumSchedule,
)


class HeadSettings(Record):
    """Projection head, and batch norm of encoder and heads."""

    head_hidden: HeadWidth | None = None
    """Width of the hidden layers of the projection head. Default: chosen from the encoder."""
    head_layers: Annotated[int, Field(ge=2, le=4)] = 2
    """Layers of the projection head."""
    head_batch_norm: HeadBatchNorm = "hidden"
    """Batch norm in the projection head: after each hidden layer, after all layers, or none."""
    bn: BatchNormKind = "plain"
    """`plain` computes batch norm over each view of the batch of one process; `sync` over that of
    all processes; `split` in groups of rows, as processes do that share no statistics."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in; 1: the whole batch."""
        return self.bn_splits if self.bn == "split" else 1

    @property
    def head_has_batch_norm(self) -> bool:
        """True if a head has batch norm."""
        return self.head_batch_norm != "none"

    def projector_weights(self, dim: int) -> int:
        """Return the weights of the projection head after its first layer, to `dim` outputs."""
        hidden = self.head_hidden or 0
        return hidden * dim + (self.head_layers - 2) * hidden**2


class PredictorSettings(HeadSettings):
    """Projection head and a predictor of two layers."""

    predictor_hidden: HeadWidth | None = None
    """Width of the predictor's hidden layer. Default: that of the projection head."""


class TargetSettings(PredictorSettings):
    """Heads beside a target encoder, which follows by EMA."""

    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Momentum m of the target encoder at the start. Default: chosen from the number of epochs."""
    momentum_schedule: MomentumSchedule = "cosine"
    """`cosine` raises the momentum at every step, from its value to 1 at the end of the run."""

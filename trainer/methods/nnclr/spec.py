"""The settings of NNCLR, and its name, signals and advice in texts."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.methods.head_settings import PredictorSettings
from trainer.methods.key_signals import QUEUE_SIGNALS
from trainer.schema.choices import HeadBatchNorm
from trainer.schema.signals import Setting


class NNCLRSpec(PredictorSettings):
    """Contrast with nearest neighbors from a queue of projections (arXiv:2104.14548)."""

    name: Literal["nnclr"] = "nnclr"
    """Method name."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 256
    """Embedding dimension."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Temperature T of the loss. Default: chosen from the image size."""
    queue_rows: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Number of earlier projections that neighbors are taken from. Default: chosen from the dataset
    size.
    """
    head_layers: Annotated[int, Field(ge=2, le=4)] = 3
    """Layers of the projection head."""
    head_batch_norm: HeadBatchNorm = "all"
    """Batch norm in the projection head: after each hidden layer, after all layers, or none."""

    @property
    def head_has_batch_norm(self) -> bool:
        """True: the predictor always has batch norm."""
        return True


class ResolvedNNCLRSpec(NNCLRSpec):
    """NNCLR with every value."""

    head_hidden: int
    predictor_hidden: int
    temperature: float
    queue_rows: int


TITLE = "NNCLR"
"""Name in texts."""
READING = (
    "The loss of a healthy run rises at first, while real projections replace random ones in the "
    "queue."
)
"""Sentence on how to read its loss."""
SIGNALS = QUEUE_SIGNALS
"""Signals beside the common ones."""
SETTINGS = {
    "queue_size": Setting("queue_rows", "queue length K"),
    "temperature": Setting("temperature", "temperature T of the loss"),
}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a shorter queue, with `method.queue_rows` below {queue_rows}"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

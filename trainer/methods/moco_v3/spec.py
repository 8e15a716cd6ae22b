"""The settings of MoCo v3, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.methods.head_settings import TargetSettings
from trainer.methods.key_signals import KEY_ENCODER_SIGNALS, QUEUE_SIGNALS
from trainer.schema.choices import HeadBatchNorm
from trainer.schema.signals import Setting


class MoCoV3Spec(TargetSettings):
    """Momentum Contrast with a predictor and keys of the same batch (arXiv:2104.02057)."""

    has_unlike_views: ClassVar[bool] = True
    """The authors' views differ: the first is always blurred, the second may be solarized."""

    name: Literal["moco_v3"] = "moco_v3"
    """Method name."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 256
    """Embedding dimension."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Temperature T of InfoNCE. Default: chosen from the encoder and the image size."""
    head_layers: Annotated[int, Field(ge=2, le=4)] | None = None  # type: ignore[assignment]  # a hole
    """Layers of the projection head. Default: 3 for a ViT, else 2."""
    head_batch_norm: HeadBatchNorm = "all"
    """Batch norm in the projection head: after each hidden layer, after all layers, or none."""
    predictor_batch_norm: HeadBatchNorm | None = None
    """Batch norm in the predictor. Default: after all layers for a ViT, else after hidden ones."""
    queue_rows: Annotated[int, Field(ge=0, le=2**20)] = 0
    """Number of keys of earlier batches that are negatives too; 0, as in the paper, for none."""

    @property
    def head_has_batch_norm(self) -> bool:
        """True if a head has batch norm."""
        return (self.head_batch_norm, self.predictor_batch_norm) != ("none", "none")


class ResolvedMoCoV3Spec(MoCoV3Spec):
    """MoCo v3 with every value."""

    head_hidden: int
    head_layers: int
    predictor_hidden: int
    predictor_batch_norm: HeadBatchNorm
    momentum: float
    temperature: float


TITLE = "MoCo v3"
"""Name in texts."""
READING = (
    "The loss shown is the mean InfoNCE of a query; that of the gradient is 4 T times it. It falls "
    "from the start of a healthy run."
)
"""Sentence on how to read its loss."""
SIGNALS = QUEUE_SIGNALS | KEY_ENCODER_SIGNALS
"""Signals beside the common ones."""
SETTINGS = {
    "queue_size": Setting("queue_rows", "queue length K"),
    "key_momentum_ratio": Setting("momentum", "momentum m of the key encoder"),
    "temperature": Setting("temperature", "temperature T of the loss"),
}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`, which also means fewer negatives"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

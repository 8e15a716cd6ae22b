"""The settings of Momentum Contrast, versions 1 and 2."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.methods.key_signals import KEY_ENCODER_SIGNALS, QUEUE_SIGNALS
from trainer.schema.base import Record
from trainer.schema.choices import (
    BatchNormGroups,
    BatchNormKind,
    HeadBatchNorm,
    MomentumSchedule,
    OwnWidth,
)
from trainer.schema.signals import Setting, Signal


class LearnedTemperature(Record):
    """A temperature that is trained: log(1/T), kept so that T stays within 0.01 and 1."""

    learned: Annotated[float, Field(ge=0.01, le=1.0)] = 0.07
    """Temperature at the start."""


Temperature = Annotated[float, Field(gt=0.0, le=10.0)]


class MoCoSpec(Record):
    """Momentum Contrast with a queue of negatives (arXiv:1911.05722, arXiv:2003.04297)."""

    name: Literal["moco"] = "moco"
    """Method name."""
    queue_rows: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Queue length K: number of negatives, not necessarily a multiple of the batch size. Default:
    chosen from the dataset size.
    """
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Momentum m of the key encoder, theta_k <- m theta_k + (1 - m) theta_q. Default: chosen from
    K.
    """
    momentum_schedule: MomentumSchedule = "constant"
    """`cosine` raises the momentum at every step, from its value to 1 at the end of the run."""
    temperature: Temperature | LearnedTemperature | None = None
    """Temperature T of InfoNCE, or `{"learned": T}` to train it from T on. Default: chosen from the
    image size.
    """
    dim: Annotated[int, Field(ge=2, le=4096)] = 128
    """Embedding dimension."""
    head: Literal["linear", "mlp"] | None = None
    """Projection head: `linear` (MoCo v1) or `mlp` (features-ReLU-dim, MoCo v2). Default: chosen
    from the image size.
    """
    head_hidden: OwnWidth = "features"
    """Width of the hidden layers of an `mlp` head; `features` for that of the features."""
    head_layers: Annotated[int, Field(ge=2, le=4)] = 2
    """Layers of an `mlp` head."""
    head_batch_norm: HeadBatchNorm = "none"
    """Batch norm in an `mlp` head: none, after each hidden layer, or after all layers."""
    symmetric: bool = False
    """Symmetric loss: use each view once as query and once as key."""
    bn: BatchNormKind = "split"
    """`split` computes batch norm in groups, so that batch statistics do not leak the answer;
    `plain` over the batch of one process; `sync` over the batch of all of them."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer.
    GPUs that cannot share the default get two groups each.
    """
    shuffle_parts: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of parts of the batch within which keys are shuffled, for split batch norm. Default:
    one for each GPU, so that no image moves between them.
    """
    in_batch: bool = False
    """Use the other keys of the batch as negatives too, beside those of the queue."""
    mask_own_keys: bool = True
    """Exclude an image's own older keys from its negatives."""
    negatives_start: Literal["random", "empty"] | None = None
    """`random` starts with K random unit vectors, as in the paper; `empty` uses only real keys.
    Default: `random`, or `empty` where the encoder begins with trained weights.
    """

    @property
    def start_temperature(self) -> float | None:
        """Temperature at the start of the run."""
        chosen = self.temperature
        return chosen.learned if isinstance(chosen, LearnedTemperature) else chosen

    @property
    def has_hidden_settings(self) -> bool:
        """True if a setting of the hidden layers of an `mlp` head is not its default."""
        return (self.head_hidden, self.head_layers, self.head_batch_norm) != ("features", 2, "none")

    @model_validator(mode="after")
    def _has_the_layers(self) -> "MoCoSpec":
        if self.head == "linear" and self.has_hidden_settings:
            raise ValueError(
                "a linear head has no hidden layer; leave out head_hidden, head_layers and "
                "head_batch_norm, or use head mlp"
            )
        return self

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in; 1: the whole batch."""
        return self.bn_splits if self.bn == "split" else 1

    @property
    def head_has_batch_norm(self) -> bool:
        """True if the projection head has batch norm; by default it has none."""
        return self.head_batch_norm != "none"


class ResolvedMoCoSpec(MoCoSpec):
    """Momentum Contrast with every value."""

    queue_rows: int
    shuffle_parts: int = 1
    momentum: float
    temperature: float | LearnedTemperature
    head: Literal["linear", "mlp"]
    negatives_start: Literal["random", "empty"] = "random"


TITLE = "Momentum Contrast"
"""Name in texts."""
READING = (
    "The loss of a healthy run rises at first, while real keys replace random ones in the queue."
)
"""Sentence on how to read its loss."""
SIGNALS = (
    QUEUE_SIGNALS
    | KEY_ENCODER_SIGNALS
    | {"temperature": Signal("1", "learned temperature T of the loss", "learned_temperature")}
)
"""Signals beside the common ones."""
SETTINGS = {
    "queue_size": Setting("queue_rows", "queue length K"),
    "key_momentum_ratio": Setting("momentum", "momentum m of the key encoder"),
    "temperature": Setting("start_temperature", "temperature T of the loss"),
}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a shorter queue, with `method.queue_rows` below {queue_rows}"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

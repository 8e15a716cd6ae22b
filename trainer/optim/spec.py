"""Optimizers and learning-rate schedules, as settings."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from trainer.schema.base import Record, by_name

Rate = Annotated[float, Field(gt=0.0, le=1e12)]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class SgdSpec(Record):
    """Stochastic gradient descent with momentum, as the MoCo papers use it."""

    name: Literal["sgd"] = "sgd"
    """Optimizer name."""
    lr: Rate | None = None
    """Peak learning rate. Default: 0.03 x batch_rows / 256; four times that for `small`."""
    momentum: Fraction = 0.9
    """Momentum of SGD, not of the key encoder."""
    weight_decay: Decay | None = None
    """Weight decay, applied to all parameters including biases and batch norm. Default: chosen from
    the image size.
    """
    nesterov: bool = False
    """Use Nesterov momentum."""


class AdamWSpec(Record):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    """Optimizer name."""
    lr: Rate | None = None
    """Peak learning rate. Default: 0.001 x batch_rows / 256."""
    beta1: Fraction = 0.9
    """Decay of the first moment."""
    beta2: Fraction = 0.999
    """Decay of the second moment."""
    weight_decay: Decay | None = None
    """Weight decay. Default: 0.05."""


class ResolvedSgdSpec(SgdSpec):
    """Stochastic gradient descent with every value."""

    lr: float
    weight_decay: float


class ResolvedAdamWSpec(AdamWSpec):
    """AdamW with every value."""

    lr: float
    weight_decay: float


ResolvedOptimSpec = ResolvedSgdSpec | ResolvedAdamWSpec
OptimSpec = Annotated[
    Annotated[SgdSpec, Tag("sgd")] | Annotated[AdamWSpec, Tag("adamw")],
    Discriminator(
        by_name("sgd"),
        custom_error_type="unknown_optimizer",
        custom_error_message="name must be sgd or adamw",
    ),
]


class ConstantSpec(Record):
    """Constant learning rate."""

    name: Literal["constant"] = "constant"
    """Schedule name."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Epochs of linear warm-up to the peak."""
    warmup_from: Literal[0, 1] | None = None
    """Warm-up step n (from 0) uses (n + this) / (warm-up steps) of the peak. Default: 1."""


class CosineSpec(Record):
    """Cosine decay from the peak to 0 (arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    """Schedule name."""
    per: Literal["epoch", "step"] = "epoch"
    """Update once per epoch, as in the MoCo papers, or at every step."""
    first_epoch: Literal[0, 1] = 0
    """Number of the first epoch: 0 in the papers' code, 1 in the authors' CIFAR-10 notebook."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Epochs of linear warm-up to the peak."""
    warmup_from: Literal[0, 1] | None = None
    """Warm-up step n (from 0) uses (n + this) / (warm-up steps) of the peak. Default: 1."""


class StepsSpec(Record):
    """Step schedule, as in MoCo v1."""

    name: Literal["steps"] = "steps"
    """Schedule name."""
    epochs: Annotated[tuple[int, ...], Field(strict=False, max_length=32)] = (120, 160)
    """Epochs at which the learning rate drops."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Factor of each drop."""
    first_epoch: Literal[0, 1] = 0
    """Number of the first epoch: 0 in the papers' code, 1 in the authors' CIFAR-10 notebook."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Epochs of linear warm-up to the peak."""
    warmup_from: Literal[0, 1] | None = None
    """Warm-up step n (from 0) uses (n + this) / (warm-up steps) of the peak. Default: 1."""


class ResolvedConstantSpec(ConstantSpec):
    """Constant learning rate with every value."""

    warmup_from: Literal[0, 1]


class ResolvedCosineSpec(CosineSpec):
    """Cosine decay with every value."""

    warmup_from: Literal[0, 1]


class ResolvedStepsSpec(StepsSpec):
    """Step schedule with every value."""

    warmup_from: Literal[0, 1]


ResolvedScheduleSpec = ResolvedConstantSpec | ResolvedCosineSpec | ResolvedStepsSpec
ScheduleSpec = Annotated[
    Annotated[ConstantSpec, Tag("constant")]
    | Annotated[CosineSpec, Tag("cosine")]
    | Annotated[StepsSpec, Tag("steps")],
    Discriminator(
        by_name("cosine"),
        custom_error_type="unknown_schedule",
        custom_error_message="name must be constant, cosine or steps",
    ),
]

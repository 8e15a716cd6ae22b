"""Optimizers and learning-rate schedules, as settings."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from trainer.schema.base import Record, name_or

Rate = Annotated[float, Field(gt=0.0, le=1e12)]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class SgdSpec(Record):
    """Stochastic gradient descent with momentum, as the MoCo papers use it."""

    name: Literal["sgd"] = "sgd"
    """Which optimizer."""
    lr: Rate | None = None
    """Peak learning rate. Left out: 0.03 x batch_rows / 256, four times that if `small`."""
    momentum: Fraction = 0.9
    """Momentum of the gradient, not of the key encoder."""
    weight_decay: Decay | None = None
    """On every parameter, biases and batch norm included. Left out: from the image side."""
    nesterov: bool = False
    """Look ahead by one momentum step."""


class AdamWSpec(Record):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    """Which optimizer."""
    lr: Rate | None = None
    """Peak learning rate. Left out: 0.001 x batch_rows / 256."""
    beta1: Fraction = 0.9
    """Decay of the first moment."""
    beta2: Fraction = 0.999
    """Decay of the second moment."""
    weight_decay: Decay | None = None
    """Left out: 0.05."""


OptimSpec = Annotated[
    Annotated[SgdSpec, Tag("sgd")] | Annotated[AdamWSpec, Tag("adamw")],
    Discriminator(
        name_or("sgd"),
        custom_error_type="unknown_optimizer",
        custom_error_message="name must be sgd or adamw",
    ),
]


class ConstantSpec(Record):
    """The same rate at every step."""

    name: Literal["constant"] = "constant"
    """Which schedule."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """The rate rises linearly to the peak over so many epochs."""
    warmup_from: Literal[0, 1] | None = None
    """Step n of a warm-up has (n + this) / warm-up steps of the peak, n from 0. Left out: 1."""


class CosineSpec(Record):
    """Half a cosine from the peak to 0 (arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    """Which schedule."""
    per: Literal["epoch", "step"] = "epoch"
    """Move once per epoch, as the MoCo papers do, or at each step."""
    first_epoch: Literal[0, 1] = 0
    """Number of the first epoch: 0 in the papers' code, 1 in the authors' CIFAR-10 notebook."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """The rate rises linearly to the peak over so many epochs."""
    warmup_from: Literal[0, 1] | None = None
    """Step n of a warm-up has (n + this) / warm-up steps of the peak, n from 0. Left out: 1."""


class StepsSpec(Record):
    """The rate falls by a factor at named epochs, as in version 1."""

    name: Literal["steps"] = "steps"
    """Which schedule."""
    epochs: Annotated[tuple[int, ...], Field(strict=False, max_length=32)] = (120, 160)
    """Epochs at whose start the rate falls."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """What the rate is multiplied by."""
    first_epoch: Literal[0, 1] = 0
    """Number of the first epoch: 0 in the papers' code, 1 in the authors' CIFAR-10 notebook."""
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """The rate rises linearly to the peak over so many epochs."""
    warmup_from: Literal[0, 1] | None = None
    """Step n of a warm-up has (n + this) / warm-up steps of the peak, n from 0. Left out: 1."""


ScheduleSpec = Annotated[
    Annotated[ConstantSpec, Tag("constant")]
    | Annotated[CosineSpec, Tag("cosine")]
    | Annotated[StepsSpec, Tag("steps")],
    Discriminator(
        name_or("cosine"),
        custom_error_type="unknown_schedule",
        custom_error_message="name must be constant, cosine or steps",
    ),
]

"""Optimizers and learning-rate schedules, as settings."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from trainer.schema.base import Record, by_name, tags_of

Rate = Annotated[float, Field(gt=0.0, le=1e12)]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
# Settings of several optimizers or schedules, each with the text that it has in all of them.
Decayed = Annotated[
    Literal["all", "matrices"],
    Field(
        description="Parameters that decay: `all`, or `matrices`: biases, norms, positions and "
        "other vectors do not."
    ),
]
ClipNorm = Annotated[
    Annotated[float, Field(gt=0.0, le=1e12)] | None,
    Field(
        description="Largest L2 norm of all gradients together; longer ones are scaled down to it. "
        "Default: never."
    ),
]
Parts = Annotated[
    int,
    Field(
        ge=1,
        le=1024,
        description="Parts that a batch is trained in, one after the other, before the weights "
        "move: less memory, the same `batch_rows`. Each part has a batch norm and in-batch "
        "negatives of its own.",
    ),
]
FirstEpoch = Annotated[
    Literal[0, 1],
    Field(
        description="Number of the first epoch: 0 in the papers' code, 1 in the authors' CIFAR-10 "
        "notebook."
    ),
]
LowestRate = Annotated[
    float, Field(ge=0.0, le=1e12, description="Learning rate that the decay ends at.")
]
WarmUpEpochs = Annotated[
    float, Field(ge=0.0, le=1000.0, description="Epochs of linear warm-up to the peak.")
]
WarmUpFrom = Annotated[
    Literal[0, 1] | None,
    Field(
        description="Warm-up step n (from 0) uses (n + this) / (warm-up steps) of the peak. "
        "Default: 1."
    ),
]
WarmUpSteps = Annotated[
    Annotated[int, Field(ge=0, le=100_000_000)] | None,
    Field(
        description="Steps of linear warm-up to the peak, instead of `warmup_epochs`. Default: in "
        "epochs."
    ),
]


class SgdSpec(Record):
    """Stochastic gradient descent with momentum, as the MoCo papers use it."""

    name: Literal["sgd"] = "sgd"
    """Optimizer name."""
    lr: Rate | None = None
    """Peak learning rate. Default: 0.03 x batch_rows / 256; four times that for `small`."""
    momentum: Fraction = 0.9
    """Momentum of SGD, not of the key encoder."""
    weight_decay: Decay | None = None
    """Weight decay, added to the gradient. Default: chosen from the image size."""
    nesterov: bool = False
    """Use Nesterov momentum."""
    decay: Decayed = "all"
    clip_norm: ClipNorm = None
    accumulate_steps: Parts = 1


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
    decay: Decayed = "all"
    clip_norm: ClipNorm = None
    accumulate_steps: Parts = 1


class AdamSpec(Record):
    """Adam (arXiv:1412.6980)."""

    name: Literal["adam"] = "adam"
    """Optimizer name."""
    lr: Rate | None = None
    """Peak learning rate. Default: 0.001 x batch_rows / 256."""
    beta1: Fraction = 0.9
    """Decay of the first moment."""
    beta2: Fraction = 0.999
    """Decay of the second moment."""
    weight_decay: Decay | None = None
    """Weight decay, added to the gradient before the moments. Default: 0."""
    decay: Decayed = "all"
    clip_norm: ClipNorm = None
    accumulate_steps: Parts = 1


class LarsSpec(Record):
    """SGD with a rate for each layer, for large batches (LARS, arXiv:1708.03888)."""

    name: Literal["lars"] = "lars"
    """Optimizer name."""
    lr: Rate | None = None
    """Peak learning rate. Default: 0.3 x batch_rows / 256."""
    momentum: Fraction = 0.9
    """Momentum of the optimizer, not of the key encoder."""
    weight_decay: Decay | None = None
    """Weight decay, added to the gradient. Default: 1e-6."""
    trust: Annotated[float, Field(gt=0.0, le=1.0)] = 0.001
    """Trust coefficient: the layer's step is this share of its weights' norm, times the rate."""
    norm: Literal["joined", "sum"] = "joined"
    """Norm that a layer's step is divided by: `joined`, of gradient and decay together (SimCLR,
    BYOL, MoCo v3), or `sum` of the norms of both (solo-learn, LightlySSL).
    """
    clip: bool = False
    """Keep the scale of a layer, divided by the learning rate, at most 1 (solo-learn)."""
    exclude_1d: bool = True
    """Train biases and norms with the plain rate."""
    decay: Decayed = "matrices"
    clip_norm: ClipNorm = None
    accumulate_steps: Parts = 1


class ResolvedSgdSpec(SgdSpec):
    """Stochastic gradient descent with every value."""

    lr: float
    weight_decay: float


class ResolvedAdamWSpec(AdamWSpec):
    """AdamW with every value."""

    lr: float
    weight_decay: float


class ResolvedAdamSpec(AdamSpec):
    """Adam with every value."""

    lr: float
    weight_decay: float


class ResolvedLarsSpec(LarsSpec):
    """LARS with every value."""

    lr: float
    weight_decay: float


ResolvedOptimSpec = ResolvedSgdSpec | ResolvedAdamWSpec | ResolvedAdamSpec | ResolvedLarsSpec
_OptimMember = (
    Annotated[SgdSpec, Tag("sgd")]
    | Annotated[AdamWSpec, Tag("adamw")]
    | Annotated[AdamSpec, Tag("adam")]
    | Annotated[LarsSpec, Tag("lars")]
)
OptimSpec = Annotated[_OptimMember, by_name("sgd", kind="optimizer", names=tags_of(_OptimMember))]


Schedule = TypeVar("Schedule", bound="ConstantSpec | CosineSpec | LinearSpec | StepsSpec")


def one_warm_up(spec: Schedule) -> Schedule:
    """Return a schedule. Raises PydanticCustomError if it states its warm-up twice."""
    if spec.warmup_steps is not None and spec.warmup_epochs > 0.0:
        raise PydanticCustomError(
            "two_warm_ups",
            "warmup_steps and warmup_epochs both give the length of the warm-up; leave one out",
        )
    return spec


class ConstantSpec(Record):
    """Constant learning rate."""

    name: Literal["constant"] = "constant"
    """Schedule name."""
    warmup_epochs: WarmUpEpochs = 0.0
    warmup_from: WarmUpFrom = None
    warmup_steps: WarmUpSteps = None

    _one_warm_up = model_validator(mode="after")(one_warm_up)


class CosineSpec(Record):
    """Cosine decay from the peak to `lr_min` (arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    """Schedule name."""
    per: Literal["epoch", "step"] = "epoch"
    """Update once per epoch, as in the MoCo papers, or at every step."""
    first_epoch: FirstEpoch = 0
    warmup_epochs: WarmUpEpochs = 0.0
    warmup_from: WarmUpFrom = None
    lr_min: LowestRate = 0.0
    warmup_steps: WarmUpSteps = None

    _one_warm_up = model_validator(mode="after")(one_warm_up)


class LinearSpec(Record):
    """Linear decay from the peak to `lr_min`, at every step."""

    name: Literal["linear"] = "linear"
    """Schedule name."""
    lr_min: LowestRate = 0.0
    warmup_epochs: WarmUpEpochs = 0.0
    warmup_from: WarmUpFrom = None
    warmup_steps: WarmUpSteps = None

    _one_warm_up = model_validator(mode="after")(one_warm_up)


class StepsSpec(Record):
    """Step schedule, as in MoCo v1."""

    name: Literal["steps"] = "steps"
    """Schedule name."""
    epochs: Annotated[tuple[int, ...], Field(strict=False, max_length=32)] = (120, 160)
    """Epochs at which the learning rate drops."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Factor of each drop."""
    first_epoch: FirstEpoch = 0
    warmup_epochs: WarmUpEpochs = 0.0
    warmup_from: WarmUpFrom = None
    warmup_steps: WarmUpSteps = None

    _one_warm_up = model_validator(mode="after")(one_warm_up)


class ResolvedConstantSpec(ConstantSpec):
    """Constant learning rate with every value."""

    warmup_from: Literal[0, 1]


class ResolvedCosineSpec(CosineSpec):
    """Cosine decay with every value."""

    warmup_from: Literal[0, 1]


class ResolvedLinearSpec(LinearSpec):
    """Linear decay with every value."""

    warmup_from: Literal[0, 1]


class ResolvedStepsSpec(StepsSpec):
    """Step schedule with every value."""

    warmup_from: Literal[0, 1]


ResolvedScheduleSpec = (
    ResolvedConstantSpec | ResolvedCosineSpec | ResolvedLinearSpec | ResolvedStepsSpec
)
_ScheduleMember = (
    Annotated[ConstantSpec, Tag("constant")]
    | Annotated[CosineSpec, Tag("cosine")]
    | Annotated[LinearSpec, Tag("linear")]
    | Annotated[StepsSpec, Tag("steps")]
)
ScheduleSpec = Annotated[
    _ScheduleMember, by_name("cosine", kind="schedule", names=tags_of(_ScheduleMember))
]

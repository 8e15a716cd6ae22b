"""The settings of VICReg, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.methods.head_settings import HeadSettings
from trainer.schema.signals import Setting, Signal

Weight = Annotated[float, Field(ge=0.0, le=1e6)]


class VICRegSpec(HeadSettings):
    """Invariance, variance and covariance of both views' projections (arXiv:2105.04906)."""

    sgd_lr_factor: ClassVar[float] = 0.1
    """Default learning rate of SGD beside that of the contrastive methods: terms weigh 25."""

    takes_more_views: ClassVar[bool] = True
    """The loss of more than two views is the mean over their pairs."""

    name: Literal["vicreg"] = "vicreg"
    """Method name."""
    dim: Annotated[int, Field(ge=2, le=8192)] | None = None
    """Embedding dimension. Default: the width of the head's hidden layers."""
    head_layers: Annotated[int, Field(ge=2, le=4)] = 3
    """Layers of the projection head."""
    invariance_weight: Weight = 25.0
    """Weight of the mean squared difference of both projections of a row."""
    variance_weight: Weight = 25.0
    """Weight of the hinge that keeps the std of each dimension above 1, of both views together."""
    covariance_weight: Weight = 1.0
    """Weight of the squared covariances of different dimensions."""


class ResolvedVICRegSpec(VICRegSpec):
    """VICReg with every value."""

    head_hidden: int
    dim: int


TITLE = "VICReg"
"""Name in texts."""
READING = (
    "The loss is a weighted sum of three terms, each a signal of its own, and falls from the start."
)
"""Sentence on how to read its loss."""
SIGNALS = {
    "invariance_loss": Signal(
        "1", "mean squared difference of both views' projections", "invariance_loss"
    ),
    "variance_loss": Signal(
        "1", "hinge of the dimensions' std at 1, both views added up", "variance_loss"
    ),
    "covariance_loss": Signal(
        "1", "squared covariances of different dimensions over D, both views", "covariance_loss"
    ),
}
"""Signals beside the common ones."""
SETTINGS = {"covariance_weight": Setting("covariance_weight", "weight of VICReg's covariances")}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `method.dim` than {dim}: covariances cost its square"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

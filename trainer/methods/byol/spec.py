"""The settings of BYOL, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.methods.head_settings import TargetSettings
from trainer.methods.key_signals import KEY_ENCODER_SIGNALS
from trainer.schema.signals import Setting


class BYOLSpec(TargetSettings):
    """Prediction of a target network's projections, without negatives (arXiv:2006.07733)."""

    has_unlike_views: ClassVar[bool] = True
    """The authors' views differ: the first is always blurred, the second may be solarized."""
    takes_more_views: ClassVar[bool] = True
    """The loss of more than two views is the mean over all orders of two."""

    name: Literal["byol"] = "byol"
    """Method name."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 256
    """Embedding dimension."""


class ResolvedBYOLSpec(BYOLSpec):
    """BYOL with every value."""

    head_hidden: int
    predictor_hidden: int
    momentum: float


TITLE = "BYOL"
"""Name in texts."""
READING = (
    "The loss is the mean squared distance of predictions and targets, from 0 to 4; it may rise "
    "again while the encoder improves. Without negatives, only the embedding spread tells of a "
    "collapse."
)
"""Sentence on how to read its loss."""
SIGNALS = KEY_ENCODER_SIGNALS
"""Signals beside the common ones."""
SETTINGS = {"key_momentum_ratio": Setting("momentum", "momentum m of the key encoder")}
"""Metric -> the setting that it shows."""
ADVICE = {"query": "use narrower heads, with `method.head_hidden` below {head_hidden}"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""

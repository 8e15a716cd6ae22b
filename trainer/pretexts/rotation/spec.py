"""The settings of rotation, and its name and signals in texts."""

from math import log
from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.signals import Signal

TURNS = 4
"""Quarter turns to recognize, none among them."""


class RotationSpec(Record):
    """Recognize by how many quarter turns an image was turned (arXiv:1803.07728).

    One turn is drawn for each image of a step; the authors show all four of each image.
    """

    name: Literal["rotation"] = "rotation"
    """Pretext name."""
    weight: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    """Factor of its loss beside that of the method."""


TITLE = "rotation"
"""Name in texts."""
CHANCE: float | None = log(TURNS)
"""Loss of guessing, in nats; None for a pretext whose loss has none."""
SIGNALS: dict[str, Signal] = {
    "rotation_loss": Signal(
        "nats", "loss of recognizing quarter turns; guessing: 1.386", "rotation_loss", "down"
    ),
    "rotation_top1": Signal(
        "ratio",
        "share of training images whose quarter turn is recognized; guessing: 0.25",
        "rotation_top1_ratio",
        "up",
    ),
}
"""Signals of a step, in the order of its readings: the loss, then its scores."""
TEST_SIGNALS: dict[str, Signal] = {
    "rotation_top1_test": Signal(
        "ratio",
        "share of held-out images whose quarter turn is recognized; guessing: 0.25",
        "rotation_top1_test_ratio",
        "up",
    ),
}
"""Signals of images that are not trained on, in the order of its scores."""

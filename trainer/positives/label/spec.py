"""The settings of positives from rows of the same label."""

from typing import ClassVar, Literal

from trainer.schema.base import Record


class LabelSpec(Record):
    """The second view comes from another image of the same label, drawn again in each epoch.

    Images of one label are never negatives of each other. An image without a label, or one whose
    label is held out for evaluation, is paired with itself.
    """

    name: Literal["label"] = "label"
    """Source of positives."""
    uses_labels: ClassVar[bool] = True

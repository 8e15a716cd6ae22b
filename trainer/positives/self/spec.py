"""The settings of positives from the same row."""

from typing import ClassVar, Literal

from trainer.schema.base import Record


class SelfSpec(Record):
    """Both views of a pair come from the same image. No label is used."""

    name: Literal["self"] = "self"
    """Source of positives."""
    uses_labels: ClassVar[bool] = False

"""The settings of positives from rows nearby in time."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.schema.base import Record


class NeighbourSpec(Record):
    """The second view comes from an image of the same sequence nearby in time (arXiv:1704.06888).

    Images of one sequence are never negatives of each other: beyond the window they are ignored.
    An image without sequence and time, or without another one in its window, pairs with itself.
    """

    name: Literal["neighbour"] = "neighbour"
    """Source of positives."""
    window: Annotated[float, Field(gt=0.0, le=1e12)] = 1.0
    """Greatest distance in time of a pair, in the unit of the column `time`."""
    uses_labels: ClassVar[bool] = False

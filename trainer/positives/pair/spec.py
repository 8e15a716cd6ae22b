"""The settings of positives from the other row of a pair."""

from typing import ClassVar, Literal

from trainer.schema.base import Record


class PairSpec(Record):
    """The second view comes from the other image of a pair, as the column `pair` names it.

    Images of one pair are never negatives of each other. An image without a pair pairs with itself.
    """

    name: Literal["pair"] = "pair"
    """Source of positives."""
    uses_labels: ClassVar[bool] = False

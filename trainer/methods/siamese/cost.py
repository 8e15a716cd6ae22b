"""The cost of Siamese pairs."""

from math import comb

from trainer.methods.cost import MethodCost
from trainer.methods.siamese.spec import SiameseSpec

PLACE_COPIES = 4
"""Places of other rows [B, B] in int64, counted and compared."""


def cost(spec: SiameseSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of all views."""
    del spec
    places = comb(views, 2) * batch_rows**2
    return MethodCost(3 * views, views_kept=views, towers=1, values=PLACE_COPIES * places)

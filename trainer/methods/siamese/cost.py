"""The cost of Siamese pairs."""

from trainer.methods.cost import MethodCost
from trainer.methods.siamese.spec import SiameseSpec

PLACE_COPIES = 4
"""Places of other rows [B, B] in int64, counted and compared."""


def cost(spec: SiameseSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    del spec
    return MethodCost(6, views_kept=2, towers=1, values=PLACE_COPIES * batch_rows**2)

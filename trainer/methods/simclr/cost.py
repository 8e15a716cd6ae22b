"""The cost of SimCLR."""

from trainer.methods.cost import MethodCost
from trainer.methods.simclr.spec import SimCLRSpec

LOGIT_COPIES = 3
"""Logits [2B, 2B], masked and exponentiated for the gradient."""


def cost(spec: SimCLRSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    del spec
    return MethodCost(6, views_kept=2, towers=1, values=LOGIT_COPIES * (2 * batch_rows) ** 2)

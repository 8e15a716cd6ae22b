"""The cost of SimCLR."""

from math import comb

from trainer.methods.cost import MethodCost
from trainer.methods.simclr.spec import SimCLRSpec

LOGIT_COPIES = 3
"""Logits [2B, 2B] of each pair of views, masked and exponentiated for the gradient."""


def cost(spec: SimCLRSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of all views."""
    del spec
    logits = comb(views, 2) * (2 * batch_rows) ** 2
    return MethodCost(3 * views, views_kept=views, towers=1, values=LOGIT_COPIES * logits)

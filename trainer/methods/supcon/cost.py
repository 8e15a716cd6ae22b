"""The cost of supervised contrast."""

from trainer.methods.cost import MethodCost
from trainer.methods.supcon.spec import SupConSpec

LOGIT_COPIES = 4
"""Logits [2B, 2B], masked, as log-probabilities and exponentiated for the gradient."""


def cost(spec: SupConSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    del spec
    return MethodCost(6, views_kept=2, towers=1, values=LOGIT_COPIES * (2 * batch_rows) ** 2)

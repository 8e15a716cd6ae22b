"""The cost of supervised contrast."""

from trainer.methods.cost import MethodCost
from trainer.methods.supcon.spec import SupConSpec

LOGIT_COPIES = 4
"""Logits [V B, V B] of V views, masked, as log-probabilities and exponentiated for the gradient."""


def cost(spec: SupConSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of all views."""
    del spec
    return MethodCost(
        3 * views, views_kept=views, towers=1, values=LOGIT_COPIES * (views * batch_rows) ** 2
    )

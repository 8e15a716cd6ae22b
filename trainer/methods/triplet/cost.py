"""The cost of triplets."""

from trainer.methods.cost import MethodCost
from trainer.methods.triplet.spec import TripletSpec

DISTANCE_COPIES = 8
"""Distances [V B, V B] of V views, sorted with their order, and places among them, in int64."""


def cost(spec: TripletSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of all views."""
    del spec
    return MethodCost(
        3 * views, views_kept=views, towers=1, values=DISTANCE_COPIES * (views * batch_rows) ** 2
    )

"""The cost of triplets."""

from trainer.methods.cost import MethodCost
from trainer.methods.triplet.spec import TripletSpec

DISTANCE_COPIES = 8
"""Distances [2B, 2B], sorted with their order, and places found among them, in int64."""


def cost(spec: TripletSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    del spec
    return MethodCost(6, views_kept=2, towers=1, values=DISTANCE_COPIES * (2 * batch_rows) ** 2)

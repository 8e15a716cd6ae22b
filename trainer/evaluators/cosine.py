"""Cosine similarities in float64 that evaluators compare."""

from torch import Tensor
from torch.nn import functional as F

STEPS = float(2**40)
"""Similarities are compared as multiples of 1 / STEPS: rows that are alike tie, whatever the last
bits of their products."""


def unit(features: Tensor) -> Tensor:
    """Return features [N, D] of any length as unit vectors in float64."""
    return F.normalize(features.double(), dim=1)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return similarities [N, M] of unit vectors [N, D] and [M, D], rounded so that equals tie."""
    return (first @ second.T).mul_(STEPS).round_().div_(STEPS)

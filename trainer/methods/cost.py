"""Cost of a method, as its `cost.py` returns it."""

from typing import NamedTuple


class MethodCost(NamedTuple):
    """Multiples of one forward pass, and memory besides activations."""

    passes: int
    """Forward passes of one view that a row's step is worth; a backward pass counts as two."""
    views_kept: int
    """Views per row with activations kept for the gradient at the same time."""
    towers: int
    """Copies of the weights, optimizer and gradient left out."""
    values: float
    """Numbers of fp32 kept besides: negatives, logits."""

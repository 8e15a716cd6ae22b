"""Cost of a method, as its `cost.py` returns it."""

from typing import NamedTuple

HIDDEN_COPIES = 1.5
"""Numbers of fp32 kept for each unit of a hidden layer: before and after its batch norm."""


class MethodCost(NamedTuple):
    """Multiples of one forward pass, and memory besides activations."""

    passes: int
    """Forward passes of one view that a row's step is worth; a backward pass counts as two."""
    views_kept: float
    """Views per row with activations kept for the gradient at the same time."""
    towers: int
    """Copies of the weights, optimizer and gradient left out."""
    values: float
    """Numbers of fp32 kept besides: negatives, logits."""
    kept_passes: int = 1
    """Copies of the weights in the precision of the step, which passes with a gradient keep."""
    head_hidden: int = 0
    """Width of the first layer of a head, if it is wider than the usual one of the encoder."""
    head_weights: int = 0
    """Weights of heads besides that layer's."""


def separate_views_kept(views: int) -> float:
    """Return the views kept where each has a pass of its own: 1.8 of 2, and 3.2 of 4.

    Work is that of one, and the last is freed first.
    """
    return 0.4 + 0.7 * views

"""Cost of a forward pass, as a modality declares it in `cost.py`. Loads no tensors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of the encoder of a job for one view of one row."""

    parameters: int
    macs: float
    """Multiply-adds of a forward pass."""
    activations: float
    """Values kept for the backward pass."""
    view_values: int
    """Values of the view itself."""

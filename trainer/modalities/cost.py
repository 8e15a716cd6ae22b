"""Cost of a forward pass, as a modality declares it in `cost.py`. Loads no tensors."""

from dataclasses import dataclass

RESIDENT_SHARE_GPU = 0.2
"""Greatest share of a GPU's memory that a dataset may take to stay there."""


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of the encoder of a job for one view of one row."""

    parameters: int
    macs: float
    """Multiply-adds of a forward pass."""
    activations: float
    """Values kept for the backward pass, in the precision of the step."""
    view_values: int
    """Values of the view itself, in fp32."""
    kept_bytes: float = 0.0
    """Bytes kept for the backward pass besides, whatever the precision."""
    feature_dim: int = 512
    """Width of the encoder's output."""
    work_values: float = 0.0
    """Values in fp32 that exist only while a view is made, for each row that is worked on."""
    work_rows: int = 1 << 30
    """Rows that views are made of at once, at most."""
    stored_bytes: float = 0.0
    """Bytes of the row as it comes to the device."""
    resident_bytes: int = 0
    """Bytes of the dataset, if it stays on a device of which it takes `RESIDENT_SHARE_GPU`."""

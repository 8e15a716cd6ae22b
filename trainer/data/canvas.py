"""A batch of rows of any sizes, as one tensor."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Canvas:
    """Rows in the upper left corners of equal rectangles; the rest is zero."""

    pixels: Tensor
    """u8 [B, C, H, W], in any memory format; or int16, whose bits are those of 16-bit values."""
    heights: Tensor
    """int64 [B], in pixels."""
    widths: Tensor
    """int64 [B], in pixels."""

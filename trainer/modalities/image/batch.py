"""A batch of rows of any sizes, as one tensor."""

from dataclasses import dataclass
from math import floor

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PaddedImages:
    """Rows in the upper left corners of equal rectangles; the rest is zero."""

    pixels: Tensor
    """u8 [B, C, H, W], in any memory format; or int16 with the bits of unsigned 16-bit values."""
    heights: Tensor
    """int64 [B], in pixels."""
    widths: Tensor
    """int64 [B], in pixels."""
    bounds: tuple[float, float] = (0.0, 255.0)
    """Stored values that are mapped to 0 and 1."""

    sent: Tensor | None = None
    """int64 [B, 2]: heights and widths of the files, before rows were shrunk; None: those of rows.

    Only `ImageAugmenter.center_crop` uses them: the crop that torchvision takes depends on them.
    """

    def tensors(self) -> tuple[Tensor, ...]:
        """Return pixels, heights and widths."""
        return self.pixels, self.heights, self.widths

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> "PaddedImages":
        """Return the same bounds with other pixels, heights and widths."""
        pixels, heights, widths = tensors
        return PaddedImages(pixels, heights, widths, self.bounds)

    @property
    def is_plain(self) -> bool:
        """Return whether rows are 8-bit with the full range 0 to 255."""
        return self.pixels.dtype == torch.uint8 and self.bounds == (0.0, 255.0)

    def floats(self, chosen: Tensor | slice) -> Tensor:
        """Return rows as contiguous float32: in [0, 255] if `is_plain`, else in [0, 1]."""
        pixels = self.pixels[chosen]
        if self.is_plain:
            return pixels.to(torch.float32, memory_format=torch.contiguous_format)
        low, high = self.bounds
        whole = floor(low)
        # The whole part is subtracted from whole numbers, where float32 loses nothing.
        values = pixels.to(torch.int32, memory_format=torch.contiguous_format)
        if self.pixels.dtype == torch.int16:
            values &= 0xFFFF
        return values.sub_(whole).float().sub_(low - whole).div_(high - low).clamp_(0.0, 1.0)

"""A batch of rows of any sizes: padded to one rectangle on a CPU, one after another on a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

import torch
from torch import Tensor


class Corner(NamedTuple):
    """Upper left corner of a window in each row, int64 [B] each, in pixels of the row."""

    top: Tensor
    left: Tensor


class Room(NamedTuple):
    """Sides that no row of a pack exceeds, in pixels."""

    height: int
    width: int
    shorter: int


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

    def rows(self, chosen: slice) -> "PaddedImages":
        """Return some of the rows."""
        return self.with_tensors((self.pixels[chosen], self.heights[chosen], self.widths[chosen]))

    @property
    def is_plain(self) -> bool:
        """Return whether rows are 8-bit with the full range 0 to 255."""
        return self.pixels.dtype == torch.uint8 and self.bounds == (0.0, 255.0)

    def box_px(self, ratios: tuple[float, float]) -> tuple[int, int]:
        """Return the sides of the rectangle."""
        del ratios
        height, width = self.pixels.shape[2:]
        return height, width

    def frame_px(self, side_px: int) -> tuple[int, int]:
        """Return the sides of the rectangle."""
        del side_px
        height, width = self.pixels.shape[2:]
        return height, width

    def window(
        self, chosen: Tensor | slice, corner: Callable[[], Corner], sides_px: tuple[int, int]
    ) -> tuple[Tensor, Corner | None]:
        """Return whole rows as `floats` does; None: their windows begin in their corners."""
        del corner, sides_px
        return self.floats(chosen), None

    def floats(self, chosen: Tensor | slice) -> Tensor:
        """Return rows as contiguous float32: in [0, 255] if `is_plain`, else in [0, 1]."""
        return _floats(self.pixels[chosen], self.bounds, is_plain=self.is_plain)


@dataclass(frozen=True, slots=True)
class FlatImages:
    """Rows one after another, without padding: views cut their windows out of them.

    A wide and a tall row in one batch would pad all rows to a square of their longer sides.
    """

    pixels: Tensor
    """u8 or int16 [P, C], as in `PaddedImages`; what lies behind the last row has no meaning."""
    starts: Tensor
    """int64 [B]: the first pixel of each row."""
    heights: Tensor
    """int64 [B], in pixels."""
    widths: Tensor
    """int64 [B], in pixels."""
    room: Room
    bounds: tuple[float, float] = (0.0, 255.0)
    sent: Tensor | None = None
    """As in `PaddedImages`."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return pixels, starts, heights and widths."""
        return self.pixels, self.starts, self.heights, self.widths

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> "FlatImages":
        """Return the same room and bounds with other pixels, starts, heights and widths."""
        pixels, starts, heights, widths = tensors
        return FlatImages(pixels, starts, heights, widths, self.room, self.bounds)

    def rows(self, chosen: slice) -> "FlatImages":
        """Return some of the rows, with the pixels of all."""
        places = self.starts[chosen], self.heights[chosen], self.widths[chosen]
        return self.with_tensors((self.pixels, *places))

    @property
    def is_plain(self) -> bool:
        """Return whether rows are 8-bit with the full range 0 to 255."""
        return self.pixels.dtype == torch.uint8 and self.bounds == (0.0, 255.0)

    def box_px(self, ratios: tuple[float, float]) -> tuple[int, int]:
        """Return the sides of a window that holds any box of a row.

        `ratios` are the least and the greatest width of a box, divided by its height. The sides
        are those of the pack, not of the batch, so that all batches have one shape.
        """
        low, high = ratios
        side = self.room.shorter + 0.5  # sides of boxes are rounded
        height, width = ceil(side / low + 0.5), ceil(side * high + 0.5)
        return min(self.room.height, height), min(self.room.width, width)

    def frame_px(self, side_px: int) -> tuple[int, int]:
        """Return the sides of a window that holds all that a frame of evaluation reads.

        A frame is about as long as the shorter side of its row, and the filter reads less than
        two pixels of the result beyond it.
        """
        side = self.room.shorter + ceil(4 * self.room.shorter / side_px) + 8
        return min(self.room.height, side), min(self.room.width, side)

    def window(
        self, chosen: Tensor | slice, corner: Callable[[], Corner], sides_px: tuple[int, int]
    ) -> tuple[Tensor, Corner | None]:
        """Return a part of each chosen row, float32 [B, C, *sides_px] as in `floats`.

        `corner` returns where it begins. What lies beyond the row's end is of any value.
        """
        begins = corner()
        starts, widths = (part[chosen][:, None, None] for part in (self.starts, self.widths))
        height, width = sides_px
        down = torch.arange(height, device=starts.device)[None, :, None] + begins.top[:, None, None]
        across = torch.arange(width, device=starts.device) + begins.left[:, None, None]
        places = (starts + down * widths + across).clamp_(max=len(self.pixels) - 1)
        pixels = self.pixels.index_select(0, places.flatten())
        cut = pixels.view(-1, height, width, pixels.shape[1]).permute(0, 3, 1, 2)
        return _floats(cut, self.bounds, is_plain=self.is_plain), begins


Images = PaddedImages | FlatImages


def _floats(pixels: Tensor, bounds: tuple[float, float], *, is_plain: bool) -> Tensor:
    """Return pixels as contiguous float32: in [0, 255] if `is_plain`, else in [0, 1]."""
    if is_plain:
        return pixels.to(torch.float32, memory_format=torch.contiguous_format)
    low, high = bounds
    whole = floor(low)
    # The whole part is subtracted from whole numbers, where float32 loses nothing.
    values = pixels.to(torch.int32, memory_format=torch.contiguous_format)
    if pixels.dtype == torch.int16:
        values &= 0xFFFF
    return values.sub_(whole).float().sub_(low - whole).div_(high - low).clamp_(0.0, 1.0)

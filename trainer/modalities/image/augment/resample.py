"""Crop, flip, resize and blur as one kind of step: a matrix for the columns and one for the rows.

Both are linear and separable, so a whole batch with parameters of its own for each row is two
batched matrix products, which every device does at its best speed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.modalities.image.augment.params import Box, Frame
from trainer.modalities.image.batch import Corner


def separable(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Apply `down` [B, T, H] to the columns and `across` [B, S, W] to the rows of [B, 3, H, W].

    Returns [B, 3, T, S].
    """
    batch, channels, height, width = pixels.shape
    lines = pixels.reshape(batch, channels * height, width)
    lines = torch.bmm(lines, across.transpose(1, 2))
    return torch.matmul(down[:, None], lines.view(batch, channels, height, across.shape[1]))


def resize_matrices(
    box: Box,
    *,
    window_px: tuple[int, int],
    side_px: int,
    corner: Corner | None = None,
    flip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return matrices [B, side, H] and [B, side, W] that cut a box out and resize it to a square.

    They are for windows that begin at `corner`; None: at the beginning of their rows.

    They are the antialiased bilinear filter of torchvision and Pillow: a triangle as wide as the
    shrink factor, at least one pixel, normalised over the pixels inside the box.
    """
    top, left = corner or (None, None)
    down = _triangles(box.top, box.height, axis=_Axis(window_px[0], side_px, top))
    across = _triangles(box.left, box.width, axis=_Axis(window_px[1], side_px, left), flip=flip)
    return down, across


def frame_matrices(
    frame: Frame,
    sizes: tuple[Tensor, Tensor],
    *,
    window_px: tuple[int, int],
    side_px: int,
    corner: Corner | None = None,
) -> tuple[Tensor, Tensor]:
    """Return matrices [B, side, H] and [B, side, W] that resize whole rows and keep a frame.

    As in `resize_matrices`, but the filter reaches beyond the frame, to the edges of the row, whose
    heights and widths are `sizes`.
    """

    def along(start: Tensor, length: Tensor, end: Tensor, axis: _Axis) -> Tensor:
        start, scale = (value.float()[:, None, None] for value in (start, length / side_px))
        edges = (torch.zeros_like(start), end[:, None, None])
        return _filter(start, scale, edges=edges, axis=axis)

    top, left = corner or (None, None)
    down = along(frame.top, frame.height, sizes[0], _Axis(window_px[0], side_px, top))
    return down, along(frame.left, frame.width, sizes[1], _Axis(window_px[1], side_px, left))


def frame_corner(frame: Frame, *, side_px: int) -> Corner:
    """Return where the pixels begin that the filter of a frame reads."""

    def first(start: Tensor, length: Tensor) -> Tensor:
        scale = length / side_px
        return (start - 0.5 + 0.5 * scale - scale.clamp(min=1.0)).floor().clamp(min=0.0).long()

    return Corner(first(frame.top, frame.height), first(frame.left, frame.width))


class _Axis(NamedTuple):
    """One axis of windows that are resized."""

    window_px: int
    side_px: int
    """Pixels of the result."""
    first: Tensor | None
    """First pixel of each window, int64 [B]; None: 0."""

    def pixels(self, device: torch.device) -> Tensor:
        """Return the places of the window's pixels in their rows, float32 [B or 1, 1, window]."""
        places = torch.arange(self.window_px, device=device, dtype=torch.float32)[None, None, :]
        return places if self.first is None else places + self.first[:, None, None].float()


def _triangles(start: Tensor, length: Tensor, *, axis: _Axis, flip: Tensor | None = None) -> Tensor:
    """Return weights [B, side, window] of the pixels of one axis for each pixel of the view."""
    start, end = (edge[:, None, None].float() for edge in (start, start + length))
    scale = (end - start) / axis.side_px
    return _filter(start, scale, edges=(start, end), axis=axis, flip=flip)


def _filter(
    start: Tensor,
    scale: Tensor,
    *,
    edges: tuple[Tensor, Tensor],
    axis: _Axis,
    flip: Tensor | None = None,
) -> Tensor:
    """Return weights [B, side, window] of pixels between `edges`; other tensors are [B, 1, 1]."""
    side_px = axis.side_px
    index = torch.arange(side_px, device=start.device, dtype=torch.float32)[None, :, None]
    if flip is not None:
        index = torch.where(flip[:, None, None], side_px - 1 - index, index)
    centre = start - 0.5 + scale * (index + 0.5)
    pixel = axis.pixels(start.device)
    inside = ((pixel >= edges[0]) & (pixel < edges[1])).float()
    weights = (pixel - centre).abs_().mul_(-1.0 / scale.clamp(min=1.0))
    weights.add_(1.0).clamp_(min=0.0).mul_(inside)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def blur_radius_px(sigma_px_max: float, *, side_px: int) -> int:
    """Return half the width of the blur kernel: three of the largest sigmas, which cuts off 0.3 %.

    Reflection at the border needs a radius below the side.
    """
    return min(int(-(-3.0 * sigma_px_max // 1)), side_px - 1)


def shifts(radius_px: int, *, side_px: int) -> Tensor:
    """Return matrices [2 radius + 1, side x side] that shift an axis, reflected at its borders."""
    offset = torch.arange(-radius_px, radius_px + 1)[:, None]
    index = torch.arange(side_px)[None, :]
    last = side_px - 1
    source = last - (last - (index + offset).abs()).abs()
    return torch.nn.functional.one_hot(source, side_px).float().flatten(1)


def blur_matrices(sigma_px: Tensor, shift: Tensor, *, side_px: int) -> Tensor:
    """Return Gaussian matrices [B, side, side] for sigmas [B]; the identity where sigma is 0."""
    radius = len(shift) // 2
    offset = torch.arange(-radius, radius + 1, device=sigma_px.device)
    still = (offset == 0).float()
    kernel = torch.exp(-0.5 * (offset / sigma_px.clamp(min=1e-3)[:, None]) ** 2)
    kernel = torch.where(sigma_px[:, None] > 0.0, kernel / kernel.sum(1, keepdim=True), still)
    return (kernel @ shift).view(-1, side_px, side_px)

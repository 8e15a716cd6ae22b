"""Views of a batch by compiled code: on a CPU shared out over threads, on a GPU by its own kernels.

On a CPU ten times faster than the batched way, and some seconds are spent on compiling before the
first view: it pays where a job makes many. Which of the two a job takes there follows from its spec
and its dataset alone, since they differ in the last bits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.accel.ops import Accelerator, ViewForm, augment
from trainer.accel.view_layout import HUE
from trainer.modalities.image.augment.params import Box, ViewParams
from trainer.modalities.image.batch import PaddedImages

PIXELS_MIN = 100_000_000
"""Pixels of all views of a job and of their source rows: from here on compiling pays.

A compiled step takes 45 ns a pixel less on two cores (small encoder, views of 32 px from rows of 32
px), and compiling 7 s, once a worker. So a job in a worker gains from its first step on, and
`python -m trainer` from 160 million pixels; which way is taken must not depend on who runs it.
"""


def is_worth_compiling(
    *, rows: int, epochs: int, side_px: int, row_px: int, device: torch.device, views: int = 2
) -> bool:
    """Return whether compiling a job's views pays; `row_px` is the side of a typical row."""
    pixels = views * rows * epochs * (side_px**2 + row_px**2)
    return device.type == "cpu" and pixels >= PIXELS_MIN


@dataclass(slots=True)
class CompiledViews:
    """Maker of normalized views [B, 3, side, side]."""

    form: ViewForm
    grey_first: bool
    accelerator: Accelerator

    def views(self, images: PaddedImages, params: ViewParams) -> Tensor:
        """Return one view of each row, as its parameters say."""
        grey, never = params.grey, torch.zeros_like(params.grey)
        before, after = (grey, never) if self.grey_first else (never, grey)
        flags = torch.stack([before, after, params.solarize], dim=1)
        drawn = (params.flip, params.order, params.factors, flags, params.sigma_px)
        return self._made(images, params.box, *drawn, dtype=self.accelerator.view_dtype)

    def center_crop(self, images: PaddedImages, box: Box) -> Tensor:
        """Crop and resize the boxes, float32, without augmentation."""
        rows, device = len(images.pixels), images.pixels.device
        factors = torch.ones((rows, 4), device=device)
        factors[:, HUE] = 0.0
        never = torch.zeros((rows, 4), dtype=torch.bool, device=device)
        order = torch.arange(4, device=device).repeat(rows, 1)
        neutral = (never[:, 0], order, factors, never[:, 1:], factors[:, HUE])
        return self._made(images, box, *neutral, dtype=torch.float32)

    def _made(self, images: PaddedImages, box: Box, *params: Tensor, dtype: torch.dtype) -> Tensor:
        boxes = torch.stack([box.top, box.left, box.height, box.width], dim=1)
        form, accelerator = self.form, self.accelerator
        parameters = (boxes, *params)
        return augment(images.pixels, parameters, form=form, accelerator=accelerator, dtype=dtype)

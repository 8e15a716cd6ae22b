"""Views of a batch on a CPU by compiled code, shared out over threads.

Ten times faster than the batched way, and some seconds are spent on compiling before the first
view: it pays where a job makes many. Which of the two a job takes follows from its spec and its
dataset alone, since they differ in the last bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
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
    *, rows: int, epochs: int, side_px: int, row_px: int, device: torch.device
) -> bool:
    """Return whether compiling a job's views pays; `row_px` is the side of a typical row."""
    pixels = 2 * rows * epochs * (side_px**2 + row_px**2)
    return device.type == "cpu" and pixels >= PIXELS_MIN


@dataclass(slots=True)
class CompiledViews:
    """Maker of normalized views, float32 [B, 3, side, side]."""

    form: ViewForm
    grey_first: bool
    accelerator: Accelerator

    def views(self, images: PaddedImages, params: ViewParams) -> Tensor:
        """Return one view of each row, as its parameters say."""
        grey, never = params.grey, torch.zeros_like(params.grey)
        before, after = (grey, never) if self.grey_first else (never, grey)
        return self._made(
            images,
            params.box,
            params.flip.numpy(),
            params.order.numpy(),
            params.factors.numpy(),
            torch.stack([before, after, params.solarize], dim=1).numpy(),
            params.sigma_px.numpy(),
        )

    def center_crop(self, images: PaddedImages, box: Box) -> Tensor:
        """Crop and resize the boxes, without augmentation."""
        rows = len(images.pixels)
        factors = np.ones((rows, 4), np.float32)
        factors[:, HUE] = 0.0
        return self._made(
            images,
            box,
            np.zeros(rows, np.bool_),
            np.tile(np.arange(4), (rows, 1)),
            factors,
            np.zeros((rows, 3), np.bool_),
            np.zeros(rows, np.float32),
        )

    def _made(self, images: PaddedImages, box: Box, *params: NDArray[np.generic]) -> Tensor:
        boxes = torch.stack([box.top, box.left, box.height, box.width], dim=1).numpy()
        pixels = images.pixels.permute(0, 2, 3, 1).numpy()
        return augment(pixels, (boxes, *params), form=self.form, accelerator=self.accelerator)

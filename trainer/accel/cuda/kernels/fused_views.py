"""Views of a batch by the kernels of `triton_views`.

Bytes of a view of side S, from the b bytes of its row that its box covers, in an output of e bytes
a value: at most 2 b + 3 e S^2, the row being read once more for the mean luma of a contrast. A
blurred view also writes and reads 3 S^2 float32 twice: 48 S^2. At 224 px from 256 in bfloat16 that
is 0.7 MB, and 3.1 MB with a blur.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from trainer.accel.view_layout import ViewForm

KERNELS = "trainer.accel.cuda.kernels.triton_views"
"""Imported late, since it imports Triton."""
CHANNELS = 3
TILE = 512
"""Pixels of a program, 4 for each of its threads: with 8 the registers bound what runs at once."""
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


def augment(
    images: Tensor,
    parameters: Sequence[Tensor],
    *,
    form: ViewForm,
    dtype: torch.dtype,
) -> Tensor:
    """Return normalized views [B, 3, side, side], channels_last, of u8 `images` [B, 3, H, W].

    `parameters` as in `trainer.accel.ops.augment`.
    """
    kernels: Any = import_module(KERNELS)
    boxes, flips, orders, factors, flags, sigmas = (_bare(tensor) for tensor in parameters)
    side_px, radius_px, moments = form
    rows, programs = len(images), -(-(side_px**2) // TILE)
    grid = (programs, rows)
    shape = (rows, CHANNELS, side_px, side_px)
    out = torch.empty(shape, dtype=dtype, device=images.device, memory_format=torch.channels_last)
    sharp, blurred = (images.new_empty(shape, dtype=torch.float32) for _ in range(2))
    lumas = images.new_empty((rows, programs), dtype=torch.float32)
    drawn = (boxes, flips, orders, factors, flags)
    sizes = (side_px, *images.stride())
    kernels.mean_luma[grid](images, *drawn, lumas, *sizes, TILE=TILE, **OPTIONS)
    kernels.color[grid](
        *(images, *drawn, lumas, sigmas, moments, sharp, out, *sizes),
        TILE=TILE,
        PROGRAMS_TILE=1 << (programs - 1).bit_length(),
        **OPTIONS,
    )
    if radius_px:
        blur = (side_px, radius_px)
        kernels.blur_rows[grid](sharp, sigmas, blurred, *blur, TILE=TILE, **OPTIONS)
        kernels.blur_columns[grid](
            *(blurred, sigmas, flags, moments, out, *blur), TILE=TILE, **OPTIONS
        )
    return out


def _bare(tensor: Tensor) -> Tensor:
    """Return a contiguous tensor, booleans as bytes."""
    tensor = tensor.contiguous()
    return tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor

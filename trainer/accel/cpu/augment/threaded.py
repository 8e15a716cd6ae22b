"""Views of a batch by compiled code, with the rows divided among threads."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.accel.cpu.thread_pool import ThreadPool
from trainer.accel.view_layout import ViewForm

KERNELS = "trainer.accel.cpu.augment.view_kernels"
PARTS = 4
"""Parts per thread: small enough that no thread waits long for the slowest."""


def augment(
    images: NDArray[np.uint8],
    parameters: Sequence[NDArray[np.generic]],
    *,
    form: ViewForm,
    pool: ThreadPool,
) -> Tensor:
    """Return normalized views, float32 [B, 3, side, side], of `images` [B, H, W, 3].

    `parameters` are those of `view_kernels.make_views` from `boxes` to `sigmas_px`, [B, ...] each.
    """
    kernels: Any = import_module(KERNELS)  # imported late: this compiles them
    views = torch.empty((len(images), 3, form.side_px, form.side_px))
    arrays = [np.ascontiguousarray(array) for array in (images, *parameters)]
    moments = form.moments.numpy()
    parts = PARTS * pool.threads
    edges = np.linspace(0, len(images), parts + 1).astype(int).tolist()

    def part(number: int) -> None:
        rows = slice(edges[number], edges[number + 1])
        chosen = [array[rows] for array in arrays]
        kernels.make_views(*chosen, form.radius_px, moments, views.numpy()[rows])

    pool.map_range(part, parts)
    return views

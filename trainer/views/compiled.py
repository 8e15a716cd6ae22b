"""Views of a batch on a CPU by compiled code, shared out over threads.

Ten times faster than the batched way, and some seconds are spent on compiling before the first
view: it pays where a job makes many. Which of the two a job takes follows from its spec and its
dataset alone, since they differ in the last bits.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.canvas import Canvas
from trainer.views.params import HUE, Box, ViewParams

PIXELS_MIN = 200_000_000
"""Of all views of a job: from here on compiling costs less than it saves, measured at 32 px."""
PARTS = 4
"""For each thread, so that none waits long for the slowest."""


def pays(*, rows: int, epochs: int, side_px: int, device: torch.device) -> bool:
    """Whether a job's views are worth compiling for."""
    return device.type == "cpu" and 2 * rows * epochs * side_px**2 >= PIXELS_MIN


def warm_up() -> None:
    """Compile now: what is forked from this process afterwards need not."""
    import_module("trainer.views.kernels")


@dataclass(slots=True)
class CompiledViews:
    """Makes normalised views, float32 [B, 3, side, side]."""

    moments: NDArray[np.float32]
    """[2, 3]: mean and std of each channel, in [0, 1]."""
    side_px: int
    radius_px: int
    """Of the blur's kernel."""
    grey_first: bool
    threads: int = field(default_factory=torch.get_num_threads)
    _pool: ThreadPoolExecutor | None = None

    def views(self, canvas: Canvas, params: ViewParams) -> Tensor:
        """One view of each row, as its parameters say."""
        grey, never = params.grey, torch.zeros_like(params.grey)
        before, after = (grey, never) if self.grey_first else (never, grey)
        return self._made(
            canvas,
            params.box,
            params.flip.numpy(),
            params.order.numpy(),
            params.factors.numpy(),
            torch.stack([before, after, params.solarize], dim=1).numpy(),
            params.sigma_px.numpy(),
        )

    def plain(self, canvas: Canvas, box: Box) -> Tensor:
        """The boxes, changed in nothing but size."""
        rows = len(canvas.pixels)
        factors = np.ones((rows, 4), np.float32)
        factors[:, HUE] = 0.0
        return self._made(
            canvas,
            box,
            np.zeros(rows, np.bool_),
            np.tile(np.arange(4), (rows, 1)),
            factors,
            np.zeros((rows, 3), np.bool_),
            np.zeros(rows, np.float32),
        )

    def _made(self, canvas: Canvas, box: Box, *params: NDArray[np.generic]) -> Tensor:
        make: Any = import_module("trainer.views.kernels").make_views  # late: it compiles
        out = torch.empty((len(canvas.pixels), 3, self.side_px, self.side_px))
        boxes = torch.stack([box.top, box.left, box.height, box.width], dim=1).numpy()
        images = canvas.pixels.permute(0, 2, 3, 1).numpy()
        arrays = [np.ascontiguousarray(array) for array in (images, boxes, *params)]

        def part(start: int, stop: int) -> None:
            some = [array[start:stop] for array in arrays]
            make(*some, self.radius_px, self.moments, out.numpy()[start:stop])

        self._share(part, len(images))
        return out

    def _share(self, part: Callable[[int, int], None], rows: int) -> None:
        if self.threads == 1:
            part(0, rows)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="views")
        edges = np.linspace(0, rows, PARTS * self.threads + 1).astype(int).tolist()
        for _ in self._pool.map(part, edges[:-1], edges[1:]):
            pass

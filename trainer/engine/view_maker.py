"""Both views of a batch, made kernel by kernel or by one CUDA graph.

Views take some 1,500 small kernels, which a GPU finishes faster than Python launches them. The
graph reads canvas, rows and epoch from tensors; a canvas of another shape runs eagerly.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.accel.graphs import (
    WARM_UP_CALLS,
    CapturedCall,
    GraphRecorder,
    capture,
    fallback_reason,
)
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.batch import PaddedImages
from trainer.nn.views import Pixels

Pair = tuple[Pixels, Pixels]


class ViewMaker(Protocol):
    """A way to have the device make views."""

    @property
    def fallback_reason(self) -> str | None:
        """Reason for the fallback, or None if there is none."""

    def __call__(self, canvas: PaddedImages, rows: Tensor, *, epoch: int) -> Pair:
        """Two views [B, 3, side, side] of a canvas with dataset rows int64 [B].

        Good until the next call.
        """


@dataclass(slots=True)
class EagerViews:
    """One operation after the other."""

    views: ImageAugmenter
    seed: int
    fallback_reason: str | None = None

    def __call__(self, canvas: PaddedImages, rows: Tensor, *, epoch: int | Tensor) -> Pair:
        """Two views; `epoch` may be an int64 tensor [] on the device."""
        first, second = self.views.pair(canvas, rows, seed=self.seed, epoch=epoch)
        return Pixels(first), Pixels(second)


class GraphedViews:
    """Records the first whole batch after the warm-up, and replays it for all of its shape."""

    def __init__(self, eager: EagerViews, recorder: GraphRecorder, *, batch_rows: int) -> None:
        """Batches that are not of `batch_rows` are left to `eager`."""
        self._eager, self._recorder, self._batch_rows = eager, recorder, batch_rows
        self._whole_batches = 0
        self._captured: CapturedCall[Pair] | None = None
        self._epoch: Tensor | None = None
        self.fallback_reason: str | None = None
        """Message of torch if the views could not be captured."""

    def __call__(self, canvas: PaddedImages, rows: Tensor, *, epoch: int) -> Pair:
        """Return two views."""
        inputs = (canvas.pixels, canvas.heights, canvas.widths, rows)
        if (
            len(rows) == self._batch_rows
            and self._captured is None
            and self.fallback_reason is None
        ):
            self._whole_batches += 1
            if self._whole_batches > WARM_UP_CALLS:
                self._captured = self._capture(inputs, canvas.bounds)
        if self._captured is None or self._epoch is None or not self._captured.fits(inputs):
            return self._eager(canvas, rows, epoch=epoch)
        self._epoch.fill_(epoch)
        return self._captured(*inputs)

    def _capture(
        self, inputs: tuple[Tensor, ...], bounds: tuple[float, float]
    ) -> CapturedCall[Pair] | None:
        epoch = self._epoch = torch.zeros((), dtype=torch.int64, device=inputs[-1].device)

        def make(pixels: Tensor, heights: Tensor, widths: Tensor, rows: Tensor) -> Pair:
            return self._eager(PaddedImages(pixels, heights, widths, bounds), rows, epoch=epoch)

        try:
            return capture(self._recorder, make, *inputs)
        except RuntimeError as error:
            self.fallback_reason = fallback_reason(error)
            return None

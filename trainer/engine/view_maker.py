"""All views of a batch, made kernel by kernel or by one CUDA graph.

Views of images take some 1,500 small kernels, which a GPU finishes faster than Python launches
them. The graph reads raw rows, their numbers and the epoch from tensors; a batch of another shape
runs eagerly.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.accel.graphs import (
    WARM_UP_CALLS,
    CapturedCall,
    GraphRecorder,
    capture,
    fallback_reason,
)
from trainer.modalities.base import Raw, Views
from trainer.nn.views import View


class ViewMaker(Protocol):
    """A way to have the device make views."""

    @property
    def fallback_reason(self) -> str | None:
        """Reason for the fallback, or None if there is none."""

    def __call__(self, raw: Raw, rows: Tensor, *, epoch: int) -> tuple[View, ...]:
        """Return the views of the raw rows with dataset numbers int64 [B].

        Good until the next call.
        """


@dataclass(slots=True)
class EagerViews:
    """One operation after the other."""

    views: Views[Any]
    seed: int
    is_single: bool = False
    """Make the first view of each row alone."""
    fallback_reason: str | None = None

    def __call__(self, raw: Raw, rows: Tensor, *, epoch: int | Tensor) -> tuple[View, ...]:
        """Return the views; `epoch` may be an int64 tensor [] on the device."""
        if self.is_single:
            return (self.views.first(raw, rows, seed=self.seed, epoch=epoch),)
        return self.views.random(raw, rows, seed=self.seed, epoch=epoch)


class GraphedViews:
    """Records the first whole batch after the warm-up, and replays it for all of its shape."""

    def __init__(self, eager: EagerViews, recorder: GraphRecorder, *, batch_rows: int) -> None:
        """Batches that are not of `batch_rows` are left to `eager`."""
        self._eager, self._recorder, self._batch_rows = eager, recorder, batch_rows
        self._whole_batches = 0
        self._captured: CapturedCall[tuple[View, ...]] | None = None
        self._epoch: Tensor | None = None
        self.fallback_reason: str | None = None
        """Reason if the views could not be captured."""

    def __call__(self, raw: Raw, rows: Tensor, *, epoch: int) -> tuple[View, ...]:
        """Return the views."""
        inputs = (*raw.tensors(), rows)
        if (
            len(rows) == self._batch_rows
            and self._captured is None
            and self.fallback_reason is None
        ):
            self._whole_batches += 1
            if self._whole_batches > WARM_UP_CALLS:
                self._captured = self._capture(raw, inputs)
        if self._captured is None or self._epoch is None or not self._captured.fits(inputs):
            return self._eager(raw, rows, epoch=epoch)
        self._epoch.fill_(epoch)
        return self._captured(*inputs)

    def _capture(
        self, like: Raw, inputs: tuple[Tensor, ...]
    ) -> CapturedCall[tuple[View, ...]] | None:
        epoch = self._epoch = torch.zeros((), dtype=torch.int64, device=inputs[-1].device)

        def make(*tensors: Tensor) -> tuple[View, ...]:
            return self._eager(like.with_tensors(tensors[:-1]), tensors[-1], epoch=epoch)

        try:
            return capture(self._recorder, make, *inputs)
        except RuntimeError as error:
            self.fallback_reason = fallback_reason(error)
        self._recorder.forget()
        return None

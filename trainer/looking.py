"""Both views of a batch, made kernel by kernel or by one CUDA graph.

Views are some fifteen hundred small kernels, and a GPU is through with most of them before Python
has launched the next. The graph reads canvas, rows and epoch from tensors; a canvas of another
shape goes without. Not run on a GPU yet; see `trainer.captured` for the tape.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.captured import WARM_UP_STEPS, Replay, Tape
from trainer.data.canvas import Canvas
from trainer.views.views import Views

Pair = tuple[Tensor, Tensor]


class Look(Protocol):
    """A way to have the device make views."""

    @property
    def trouble(self) -> str | None:
        """Why it works otherwise than it was asked to; None if it does not."""

    def __call__(self, canvas: Canvas, rows: Tensor, *, epoch: int) -> Pair:
        """Two views [B, 3, side, side] of a canvas with dataset rows int64 [B].

        Good until the next call.
        """


@dataclass(slots=True)
class EagerLook:
    """One operation after the other."""

    views: Views
    seed: int
    trouble: str | None = None

    def __call__(self, canvas: Canvas, rows: Tensor, *, epoch: int | Tensor) -> Pair:
        """Two views; `epoch` may be an int64 tensor [] on the device."""
        return self.views.pair(canvas, rows, seed=self.seed, epoch=epoch)


@dataclass(frozen=True, slots=True)
class _Film:
    """Views that were recorded."""

    inputs: tuple[Tensor, ...]
    epoch: Tensor
    views: Pair
    replay: Replay

    def fits(self, inputs: tuple[Tensor, ...]) -> bool:
        return all(a.shape == b.shape for a, b in zip(self.inputs, inputs, strict=True))


class CapturedLook:
    """Records the first batch after the warm-up, and replays it for all of its shape."""

    def __init__(self, eager: EagerLook, tape: Tape) -> None:
        self._eager, self._tape = eager, tape
        self._calls = 0
        self._film: _Film | None = None
        self.trouble: str | None = None
        """Why views could not be captured, in the words of torch."""

    def __call__(self, canvas: Canvas, rows: Tensor, *, epoch: int) -> Pair:
        """Two views."""
        inputs = (canvas.pixels, canvas.heights, canvas.widths, rows)
        self._calls += 1
        if self._calls == WARM_UP_STEPS + 1:
            self._record(inputs, canvas.bounds)
        film = self._film
        if film is None or not film.fits(inputs):
            return self._eager(canvas, rows, epoch=epoch)
        for place, value in zip(film.inputs, inputs, strict=True):
            place.copy_(value, non_blocking=True)
        film.epoch.fill_(epoch)
        film.replay()
        return film.views

    def _record(self, inputs: tuple[Tensor, ...], bounds: tuple[float, float]) -> None:
        pixels, heights, widths, rows = places = tuple(value.clone() for value in inputs)
        epoch = torch.zeros((), dtype=torch.int64, device=rows.device)
        canvas = Canvas(pixels, heights, widths, bounds)
        try:
            views, replay = self._tape.recorded(lambda: self._eager(canvas, rows, epoch=epoch))
        except RuntimeError as error:
            self.trouble = str(error).partition("\n")[0] or type(error).__name__
            return
        self._film = _Film(places, epoch, views, replay)

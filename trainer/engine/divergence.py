"""What is noted at every step without waiting for the device."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trainer.schema.errors import DivergedError


class LossWatch:
    """Remembers the first loss that was not finite, on the device, until somebody asks."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full((), -1, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), device=device)
        self._at_once = device.type == "cpu"

    def note(self, loss: Tensor, *, step: int) -> None:
        """Note the loss [] of a step. On a CPU, where nothing waits, also `check`."""
        loss = loss.detach()
        first = (self._step < 0) & ~torch.isfinite(loss)
        self._step = torch.where(first, step, self._step)
        self._loss = torch.where(first, loss.to(self._loss.dtype), self._loss)
        if self._at_once:
            self.check()

    def check(self) -> None:
        """Raise DivergedError if any noted loss was not finite. Syncs with the device."""
        step = int(self._step)
        if step >= 0:
            raise DivergedError(step=step, loss=float(self._loss))


class Stopwatch:
    """Seconds spent in each part of an attempt.

    On a GPU the host runs ahead; the time that it waits for a reading counts where it waits.
    """

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(("data_s", "step_s", "eval_s", "checkpoint_s"), 0.0)
        self._trained_s, self._rows = 0.0, 0

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the block's time to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s[part] += time.perf_counter() - start

    def count(self, rows: int) -> None:
        """So many rows were trained on."""
        self._rows += rows

    def read(self) -> dict[str, float]:
        """Seconds so far, and the training speed since the last reading."""
        trained_s = self.spent_s["data_s"] + self.spent_s["step_s"]
        rows_per_s = self._rows / max(trained_s - self._trained_s, 1e-9)
        self._trained_s, self._rows = trained_s, 0
        return {**self.spent_s, "rows_per_s": rows_per_s}

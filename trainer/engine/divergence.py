"""Divergence check at every step, without waiting for the device."""

import torch
from torch import Tensor

from trainer.schema.errors import DivergedError


class DivergenceGuard:
    """Record of the first non-finite loss, kept on the device until `check`."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full((), -1, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), device=device)
        self._at_once = device.type == "cpu"

    def note(self, loss: Tensor, *, step: int) -> None:
        """Record the loss [] of a step. On a CPU, where reading it is free, also `check`."""
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
            raise DivergedError(f"The loss is {float(self._loss)} at step {step}.", step=step)

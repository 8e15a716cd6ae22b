"""Momentum of a tower that follows another: constant, or rising to 1 on a cosine."""

import math

import torch
from torch import Tensor, nn

from trainer.nn.ema import ema_update_, ema_update_by_tensor_
from trainer.schema.choices import MomentumSchedule


class Momentum(nn.Module):
    """Rule by which a slow tower follows a fast one. Nothing of it is in the state dict."""

    pace: Tensor

    def __init__(self, start: float, *, schedule: MomentumSchedule) -> None:
        """`start` is m before the first update."""
        super().__init__()
        self.start, self.schedule = start, schedule
        self.register_buffer("pace", torch.tensor(1.0 - start), persistent=False)

    def set_progress(self, progress: float) -> None:
        """Fill the tensor that a captured update reads, for a share of the run in [0, 1)."""
        if self.schedule == "cosine":
            self.pace.fill_(1.0 - cosine_momentum(self.start, progress=progress))

    def follow_(self, slow: nn.Module, fast: nn.Module) -> None:
        """Set theta_slow <- m theta_slow + (1 - m) theta_fast in place."""
        if self.schedule == "cosine":
            ema_update_by_tensor_(slow, fast, pace=self.pace)
        else:
            ema_update_(slow, fast, momentum=self.start)


def cosine_momentum(start: float, *, progress: float) -> float:
    """Return m after a share `progress` of the run: `start` at 0, 1 at 1.

    Sources: Grill et al. 2020, section 3.2 (arXiv:2006.07733); the authors' code of
    arXiv:2104.02057, whose epoch is a fraction.
    """
    return 1.0 - 0.5 * (1.0 + math.cos(math.pi * progress)) * (1.0 - start)

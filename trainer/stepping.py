"""The work of one optimizer step, in two halves between which the run looks at what came out."""

from typing import Protocol

import torch
from torch import Tensor

from trainer.method import Method, Outcome
from trainer.optim import set_lr


class Stepping(Protocol):
    """A way to have the device do a step."""

    @property
    def trouble(self) -> str | None:
        """Why it works otherwise than it was asked to; None if it does not."""

    def gradient(self, first: Tensor, second: Tensor, rows: Tensor, *, step: int) -> Outcome:
        """Forward and backward of two views [B, 3, S, S] of dataset rows [B], at a step from 0.

        The outcome carries no graph and is good until the next call.
        """

    def update(self, outcome: Outcome, *, lr: float) -> None:
        """The optimizer moves, and what follows in the method."""


class EagerStepping:
    """One operation after the other, as Python comes to them."""

    trouble: str | None = None

    def __init__(self, method: Method, optimizer: torch.optim.Optimizer) -> None:
        self.method, self.optimizer = method, optimizer

    def gradient(self, first: Tensor, second: Tensor, rows: Tensor, *, step: int) -> Outcome:
        """Forward and backward."""
        return self.gradient_of(first, second, rows, self.drawn(rows, step=step))

    def update(self, outcome: Outcome, *, lr: float) -> None:
        """The optimizer moves, and what follows in the method."""
        set_lr(self.optimizer, lr)
        self.move(outcome)

    def drawn(self, rows: Tensor, *, step: int) -> Tensor:
        """What the method draws for a step, where its rows [B] are."""
        return self.method.drawn(len(rows), step=step).to(rows.device, non_blocking=True)

    def gradient_of(self, first: Tensor, second: Tensor, rows: Tensor, drawn: Tensor) -> Outcome:
        """Forward and backward: what these tensors alone decide."""
        outcome = self.method.loss_of(first, second, rows, drawn)
        with self.method.clock.phase("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            outcome.loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return outcome._replace(loss=outcome.loss.detach(), queries=outcome.queries.detach())

    def move(self, outcome: Outcome) -> None:
        """What `update` does after the rate is set."""
        with self.method.clock.phase("optimizer"):
            self.optimizer.step()
        self.method.after_step(outcome)

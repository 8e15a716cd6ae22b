"""One optimizer step in two halves; the run inspects the output between them."""

from typing import Protocol

import torch
from torch import Tensor

from trainer.engine.micro_batches import joined, split
from trainer.methods.base import Method, StepOutput
from trainer.nn.views import Batch
from trainer.optim.optimizer import begin_late, clip_gradients, set_lr


class StepExecutor(Protocol):
    """A way to have the device do a step."""

    @property
    def fallback_reason(self) -> str | None:
        """Reason for the fallback, or None if there is none."""

    def gradient(self, batch: Batch, random_inputs: Tensor) -> StepOutput:
        """Run forward and backward of a batch, both on the device.

        The output carries no graph and is good until the next call.
        """

    def update(self, output: StepOutput, *, lr: float) -> None:
        """Run the optimizer, and what follows in the method."""


class EagerStep:
    """Execution of one operation after the other, as Python comes to them."""

    fallback_reason: str | None = None

    def __init__(
        self,
        method: Method,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float | None = None,
        parts: int = 1,
    ) -> None:
        """`parts`: micro-batches that a batch is trained in, one after the other."""
        self.method, self.optimizer = method, optimizer
        self._clip_norm, self._parts = clip_norm, parts
        self._stage = method.stage

    def gradient(self, batch: Batch, random_inputs: Tensor) -> StepOutput:
        """Run forward and backward: what these tensors alone decide.

        `random_inputs` of a batch in several parts begin with the number of the part.
        """
        if self._parts == 1:
            return self._gradient(batch, random_inputs, is_first=True)
        parts = zip(split(batch, self._parts), random_inputs, strict=True)
        return joined(
            [
                self._gradient(part, inputs, is_first=number == 0)
                for number, (part, inputs) in enumerate(parts)
            ]
        )

    def _gradient(self, batch: Batch, random_inputs: Tensor, *, is_first: bool) -> StepOutput:
        """Add the gradient of one part to that of the parts before."""
        output = self.method.forward_step(batch, random_inputs)
        with self.method.timer.phase("backward"):
            if is_first:
                self.optimizer.zero_grad(set_to_none=True)
            loss = output.loss if self._parts == 1 else output.loss / self._parts
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return output._replace(
            loss=output.loss.detach(), queries=output.queries.detach(), keys=output.keys.detach()
        )

    def update(self, output: StepOutput, *, lr: float) -> None:
        """Run the optimizer, and what follows in the method."""
        set_lr(self.optimizer, lr)
        self.apply_update(output)

    def apply_update(self, output: StepOutput) -> None:
        """Apply the update, after the learning rate was set."""
        with self.method.timer.phase("optimizer"):
            if self._stage != self.method.stage:
                self._stage = self.method.stage
                begin_late(self.optimizer)
            if self._clip_norm is not None:
                clip_gradients(self.optimizer, self._clip_norm)
            self.optimizer.step()
        self.method.after_step(output)

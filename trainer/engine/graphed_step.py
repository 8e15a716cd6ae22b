"""Steps captured as CUDA graphs: the host asks for one graph where it launched a thousand kernels.

Two graphs share one pool of memory: forward and backward of both towers, then optimizer, momentum
and enqueue. Between them the run reads the signals of steps that are due, as it does without
graphs. All state is changed in place, by kernels that take the learning rate, the negatives'
pointer and the order of keys from tensors.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from trainer.accel.graphs import (
    WARM_UP_CALLS,
    CapturedCall,
    GraphRecorder,
    Replay,
    capture,
    fallback_reason,
)
from trainer.engine.step import EagerStep
from trainer.methods.base import StepOutput
from trainer.nn.views import Batch, rebuilt, tensors_of
from trainer.optim.optimizer import set_lr


@dataclass(frozen=True, slots=True)
class _CapturedStep:
    gradient: CapturedCall[StepOutput]
    gradients: tuple[Tensor | None, ...]
    apply_update: Replay


class GraphedStep:
    """Records the first step of a whole batch after the warm-up, and replays it from then on."""

    def __init__(self, eager: EagerStep, recorder: GraphRecorder, *, batch_rows: int) -> None:
        """Batches that are not of `batch_rows` are left to `eager`."""
        self._eager, self._recorder, self._batch_rows = eager, recorder, batch_rows
        self._parameters: list[nn.Parameter] = list(eager.method.learning_parameters().values())
        self._whole_batches = 0
        self._captured: _CapturedStep | None = None
        self._stage = eager.method.stage
        self.fallback_reason: str | None = None
        """Reason if the step could not be captured."""

    def gradient(self, batch: Batch, random_inputs: Tensor) -> StepOutput:
        """Run forward and backward."""
        self._follow_stage()
        if len(batch.rows) == self._batch_rows and self.fallback_reason is None:
            self._whole_batches += 1
            if self._whole_batches == WARM_UP_CALLS + 1:
                self._captured = self._capture(batch, random_inputs)
            if self._captured is not None:
                return self._replayed(self._captured, (random_inputs, *tensors_of(batch)))
        with self._recorder.aside():
            return self._eager.gradient(batch, random_inputs)

    def update(self, output: StepOutput, *, lr: float) -> None:
        """Run the optimizer, and what follows in the method."""
        set_lr(self._eager.optimizer, lr)
        if self._captured is not None and output is self._captured.gradient.result:
            self._captured.apply_update()
            return
        with self._recorder.aside():
            self._eager.apply_update(output)

    def _follow_stage(self) -> None:
        """Drop the captured step when the method enters another stage, and warm up anew."""
        if self._stage == self._eager.method.stage:
            return
        self._stage, self._whole_batches = self._eager.method.stage, 0
        if self._captured is not None:
            self._captured = None
            self._drop()

    def _replayed(self, step: _CapturedStep, inputs: tuple[Tensor, ...]) -> StepOutput:
        output = step.gradient(*inputs)
        # A batch that was not whole has left gradients of its own.
        for parameter, gradient in zip(self._parameters, step.gradients, strict=True):
            parameter.grad = gradient
        return output

    def _capture(self, batch: Batch, random_inputs: Tensor) -> _CapturedStep | None:
        try:
            return self._recorded(batch, random_inputs)
        except RuntimeError as error:
            self.fallback_reason = fallback_reason(error)
        # Only now: until the end of that block the error's frames hold tensors of the capture.
        self._drop()
        return None

    def _drop(self) -> None:
        """Drop all that was recorded, and the gradients in its memory."""
        self._eager.optimizer.zero_grad(set_to_none=True)
        self._recorder.forget()

    def _recorded(self, batch: Batch, random_inputs: Tensor) -> _CapturedStep:
        eager = self._eager

        def gradient_of(random_inputs: Tensor, *tensors: Tensor) -> StepOutput:
            return eager.gradient(rebuilt(batch, tensors), random_inputs)

        gradient = capture(self._recorder, gradient_of, random_inputs, *tensors_of(batch))
        gradients = tuple(parameter.grad for parameter in self._parameters)
        _, apply_update = self._recorder.recorded(lambda: eager.apply_update(gradient.result))
        return _CapturedStep(gradient, gradients, apply_update)

"""Capture of callables: record a function of tensors once, and replay it from then on.

The second door to fast code. A small step is over sooner than Python can launch it; a CUDA graph
asks for one launch where a thousand were. Not run on a GPU yet: tests on a CPU put a recorder in
the place of CUDA's that calls the work again.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from trainer.accel.cuda.graph_recorder import CudaGraphRecorder
from trainer.accel.device_errors import first_line, is_broken_device, is_out_of_memory

WARM_UP_CALLS = 3
"""Ordinary calls before the capture: they select kernels and allocate the state."""

Result = TypeVar("Result")
Replay = Callable[[], None]


class GraphRecorder(Protocol):
    """Record the device's work and repeat it."""

    def aside(self) -> AbstractContextManager[None]:
        """Run what is recorded later here: its memory and its gradients belong there."""

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        """Return the tensors that `work` gives, which each replay fills, and the replay.

        Does nothing but record. Raises RuntimeError if the work cannot be recorded.
        """

    def forget(self) -> None:
        """Drop all that was recorded, with its memory."""


@dataclass(frozen=True, slots=True)
class CapturedCall(Generic[Result]):
    """One call of a function of tensors, recorded with memory of its own for its inputs."""

    inputs: tuple[Tensor, ...]
    result: Result
    """Good until the next call; always the same tensors."""
    replay: Replay

    def fits(self, inputs: tuple[Tensor, ...]) -> bool:
        """Return whether all inputs have the shapes that were recorded."""
        return all(a.shape == b.shape for a, b in zip(self.inputs, inputs, strict=True))

    def __call__(self, *inputs: Tensor) -> Result:
        """Copy the inputs into the recorded ones and replay."""
        for buffer, value in zip(self.inputs, inputs, strict=True):
            buffer.copy_(value, non_blocking=True)
        self.replay()
        return self.result


def capture(
    recorder: GraphRecorder, function: Callable[..., Result], *inputs: Tensor
) -> CapturedCall[Result]:
    """Record `function(*inputs)`. Raises RuntimeError if it cannot be recorded."""
    buffers = tuple(value.clone() for value in inputs)
    result, replay = recorder.recorded(lambda: function(*buffers))
    return CapturedCall(buffers, result, replay)


def fallback_reason(error: RuntimeError) -> str:
    """Return why something could not be captured, in torch's words. Raises a broken device's error.

    Before a capture the same work has run without one. So memory that is used up here was enough
    for the work: it is not for the graph, which keeps its own.
    """
    if is_broken_device(error):
        raise error
    if is_out_of_memory(error):
        return f"only the graph did not fit in the memory ({first_line(error)})"
    return first_line(error)


def recorder_for(device: torch.device) -> GraphRecorder:
    """Return a recorder of CUDA graphs, which share one pool of memory."""
    return CudaGraphRecorder(device)

"""Steps captured as CUDA graphs: the host asks for one graph where it launched a thousand kernels.

A small step is over sooner than Python can launch it. Two graphs share one pool of memory: forward
and backward of both towers, then optimizer, momentum and enqueue. Between them the run reads the
signals of steps that are due, as it does without graphs. All state is changed in place, by kernels
that take the learning rate, the negatives' pointer and the order of keys from tensors.

Not run on a GPU yet. Tests on a CPU put a tape in the place of CUDA's that calls the work again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from trainer.method import Outcome
from trainer.optim import set_lr
from trainer.stepping import EagerStepping

WARM_UP_STEPS = 3
"""Done without a graph, as steps like all others: they choose kernels and make the state."""

Result = TypeVar("Result")
Replay = Callable[[], None]


class Tape(Protocol):
    """Records the device's work and repeats it."""

    def aside(self) -> AbstractContextManager[None]:
        """Where to do what is recorded later: its memory and its gradients belong there."""

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        """The tensors that `work` gives, filled by each replay. Does nothing but record.

        Raises RuntimeError if the work cannot be recorded.
        """


class CudaTape:
    """CUDA graphs in one pool of memory, replayed in the order in which they were captured."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types
        self._graphs: list[torch.cuda.CUDAGraph] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A stream beside the default one, which capture does not allow."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        """Capture. Threads that gather rows or copy a checkpoint may go on meanwhile."""
        graph = torch.cuda.CUDAGraph()
        pool = self._graphs[0].pool() if self._graphs else None
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            result = work()
        self._graphs.append(graph)
        return result, graph.replay


@dataclass(frozen=True, slots=True)
class _Film:
    """A step that was recorded."""

    inputs: tuple[Tensor, ...]
    outcome: Outcome
    gradients: tuple[Tensor | None, ...]
    forward_and_back: Replay
    move: Replay


class CapturedStepping:
    """Records the first step of a whole batch after the warm-up, and replays it from then on."""

    def __init__(self, eager: EagerStepping, tape: Tape, *, batch_rows: int) -> None:
        """Batches that are not of `batch_rows` are left to `eager`."""
        self._eager, self._tape, self._batch_rows = eager, tape, batch_rows
        self._parameters: list[nn.Parameter] = list(eager.method.learning().values())
        self._whole_batches = 0
        self._film: _Film | None = None
        self.trouble: str | None = None
        """Why the step could not be captured, in the words of torch."""

    def gradient(self, first: Tensor, second: Tensor, rows: Tensor, *, step: int) -> Outcome:
        """Forward and backward."""
        drawn = self._eager.drawn(rows, step=step)
        if len(rows) == self._batch_rows and self.trouble is None:
            self._whole_batches += 1
            if self._whole_batches == WARM_UP_STEPS + 1:
                self._record(first, second, rows, drawn)
            if self._film is not None:
                return self._shown(self._film, (first, second, rows, drawn))
        with self._tape.aside():
            return self._eager.gradient_of(first, second, rows, drawn)

    def update(self, outcome: Outcome, *, lr: float) -> None:
        """The optimizer moves, and what follows in the method."""
        set_lr(self._eager.optimizer, lr)
        if self._film is not None and outcome is self._film.outcome:
            self._film.move()
            return
        with self._tape.aside():
            self._eager.move(outcome)

    def _shown(self, film: _Film, inputs: tuple[Tensor, ...]) -> Outcome:
        for place, value in zip(film.inputs, inputs, strict=True):
            place.copy_(value, non_blocking=True)
        film.forward_and_back()
        # A batch that was not whole has left gradients of its own.
        for parameter, gradient in zip(self._parameters, film.gradients, strict=True):
            parameter.grad = gradient
        return film.outcome

    def _record(self, *inputs: Tensor) -> None:
        eager = self._eager
        first, second, rows, drawn = places = tuple(value.clone() for value in inputs)
        try:
            outcome, forward_and_back = self._tape.recorded(
                lambda: eager.gradient_of(first, second, rows, drawn)
            )
            gradients = tuple(parameter.grad for parameter in self._parameters)
            _, move = self._tape.recorded(lambda: eager.move(outcome))
        except RuntimeError as error:
            self.trouble = str(error).partition("\n")[0] or type(error).__name__
            return
        self._film = _Film(places, outcome, gradients, forward_and_back, move)

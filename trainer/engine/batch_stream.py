"""Inputs of a step on one rank: its rows, both views of each, and random numbers."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.distributed.world import World
from trainer.engine.view_maker import ViewMaker
from trainer.modalities.base import Loader
from trainer.nn.views import Batch
from trainer.optim.schedule import TrainingLength
from trainer.rng.philox import permuted_rows
from trainer.spec.resolved import ResolvedSpec

STEPS_AHEAD = 2
"""Steps whose rows are gathered while one trains: a slow one is then made up for by a fast one."""


class RandomInputs(Protocol):
    """`Method.random_inputs`."""

    def __call__(self, rows: int, *, step: int) -> Tensor:
        """Return the random inputs of the loss for `rows` rows at a step, on the CPU."""


class StepInputs(NamedTuple):
    """All that a step reads besides its state, on the device."""

    batch: Batch
    random_inputs: Tensor
    """Those of `Method.random_inputs`."""


@dataclass(slots=True, kw_only=True)
class BatchStream:
    """Inputs by step: a pure function of the step and the spec."""

    spec: ResolvedSpec
    length: TrainingLength
    source: Loader[Any]
    make_views: ViewMaker
    random_inputs: RandomInputs
    world: World
    train_rows: Tensor | None = None
    """Numbers of the rows that are trained on, int64; None: all."""

    def inputs_at(self, step: int) -> StepInputs:
        """Return this rank's inputs of `step`. Valid until the next call."""
        timer = self.source.timer
        with timer.phase("gather"):
            rows = self.rows_of(step)
        drawn = self._random_inputs(len(rows), step=step)
        with timer.phase("copy"):
            sent_rows, random_inputs = send_together((rows, drawn), self.source.device)
        raw = self.source.raw(rows, sent=sent_rows)
        with timer.phase("gather"):
            self._prefetch(range(step + 1, min(step + 1 + STEPS_AHEAD, self.length.steps)))
        with timer.phase("views"):
            views = self.make_views(raw, sent_rows, epoch=step // self.length.steps_per_epoch)
        return StepInputs(Batch(views, sent_rows, identities=sent_rows), random_inputs)

    def _random_inputs(self, rows: int, *, step: int) -> Tensor:
        """Return the random inputs of a step; of several micro-batches [parts, ...]."""
        parts = self.spec.optim.accumulate_steps
        if parts == 1:
            return self.random_inputs(rows, step=step)
        draws = (step * parts + part for part in range(parts))
        return torch.stack([self.random_inputs(rows // parts, step=draw) for draw in draws])

    def _prefetch(self, steps: range) -> None:
        if not self.source.is_resident:
            for step in steps:
                self.source.prefetch(self.rows_of(step))

    def rows_of(self, step: int) -> Tensor:
        """Return this rank's dataset rows of a step, int64 [b] on the CPU.

        All ranks' rows together are a slice of the epoch's permutation.
        """
        epoch, position = divmod(step, self.length.steps_per_epoch)
        chosen = self.train_rows
        total = self.source.pack.rows if chosen is None else len(chosen)
        batch_rows = self.spec.batch_rows
        start = position * batch_rows
        positions = self.world.part(torch.arange(start, min(start + batch_rows, total)))
        indices = permuted_rows(
            positions,
            total=total,
            seed=self.spec.seed,
            epoch=epoch,
            order=self.spec.order,
        )
        return indices if chosen is None else chosen[indices]

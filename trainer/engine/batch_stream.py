"""Inputs of a step on one rank: its rows, views of each or its partner, random numbers."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.distributed.world import World
from trainer.engine.balanced_order import BalancedOrder
from trainer.engine.view_maker import ViewMaker
from trainer.modalities.base import Loader
from trainer.nn.views import Batch
from trainer.optim.schedule import TrainingLength
from trainer.positives.base import Partners
from trainer.pretexts.base import Pretexts
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
    pretexts: Pretexts | None = None
    train_rows: Tensor | None = None
    """Numbers of the rows that are trained on, int64; None: all."""
    balanced: BalancedOrder | None = None
    """Order of rows in which batches hold several of each label; None: any."""
    partners: Partners | None = None
    """Rows that all views but the first come from; None: each row has all of its views."""
    labels: Tensor | None = None
    """Number of each row's label, int64 [rows of the dataset], where labels are learned."""

    def inputs_at(self, step: int) -> StepInputs:
        """Return this rank's inputs of `step`. Valid until the next call."""
        timer = self.source.timer
        with timer.phase("gather"):
            rows = self.rows_of(step)
            read, own = self._read_at(rows, step), self._identities(rows)
        drawn = self._random_inputs(len(rows), step=step)
        beside = () if self.pretexts is None else self.pretexts.random_inputs(rows, step=step)
        with timer.phase("copy"):
            sent, random_inputs, *rest = send_together(
                (read, drawn, *own, *beside), self.source.device
            )
        raw = self.source.raw(read, sent=sent)
        sent_rows = sent[: len(rows)]
        with timer.phase("gather"):
            self._prefetch(range(step + 1, min(step + 1 + STEPS_AHEAD, self.length.steps)))
        with timer.phase("views"):
            views = self.make_views(raw, sent_rows, epoch=step // self.length.steps_per_epoch)
        identities = rest.pop(0) if own else sent_rows
        batch = Batch(views, sent_rows, identities, tuple(rest))
        return StepInputs(batch, random_inputs)

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
                self.source.prefetch(self._read_at(self.rows_of(step), step))

    @property
    def _rows_of_epoch(self) -> int:
        if self.balanced is not None:
            return self.balanced.total
        return self.source.pack.rows if self.train_rows is None else len(self.train_rows)

    def _read_at(self, rows: Tensor, step: int) -> Tensor:
        """Return the rows that a step reads: its own, int64 [b], then their partners, if any."""
        if self.partners is None:
            return rows
        epoch = step // self.length.steps_per_epoch
        partners = self.partners.of(rows.numpy(), epoch=epoch)
        return torch.cat([rows, torch.from_numpy(partners)])

    def _identities(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the identities of rows, unless they are the rows themselves."""
        if self.labels is not None:
            return (self.labels[rows],)
        if self.partners is None:
            return ()
        return (torch.from_numpy(self.partners.identities(rows.numpy())),)

    def rows_of(self, step: int) -> Tensor:
        """Return this rank's dataset rows of a step, int64 [b] on the CPU.

        All ranks' rows together are a slice of the epoch's permutation.
        """
        epoch, position = divmod(step, self.length.steps_per_epoch)
        start, total = position * self.spec.batch_rows, self._rows_of_epoch
        end = min(start + self.spec.batch_rows, total)
        positions = self.world.part(torch.arange(start, end))
        if self.balanced is not None:
            return self.balanced.rows_at(positions, epoch=epoch)
        chosen = self.train_rows
        indices = permuted_rows(
            positions,
            total=total,
            seed=self.spec.seed,
            epoch=epoch,
            order=self.spec.order,
        )
        return indices if chosen is None else chosen[indices]

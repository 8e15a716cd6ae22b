"""The batch of a step: which rows of the dataset it is for, and both views of each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.loader import RowSource
from trainer.engine.view_maker import Look
from trainer.nn.views import Batch
from trainer.optim.schedule import Horizon
from trainer.rng.philox import NEWEST_ORDER, shuffled
from trainer.spec.job import JobSpec


@dataclass(slots=True, kw_only=True)
class Batches:
    """Gives the batch of any step. Which it is depends on the step and the spec alone."""

    spec: JobSpec
    """Resolved."""
    horizon: Horizon
    source: RowSource
    look: Look
    train_rows: Tensor | None = None
    """Numbers of the rows that are trained on, int64; None: all."""

    def of(self, step: int) -> Batch:
        """Return the batch of `step`. Valid until the next call."""
        clock = self.source.clock
        with clock.phase("gather"):
            rows = self.rows_of(step)
        canvas = self.source.canvas(rows)
        with clock.phase("gather"):
            if step + 1 < self.horizon.steps and not self.source.is_resident:
                self.source.prefetch(self.rows_of(step + 1))
        with clock.phase("copy"):
            rows = rows.to(self.source.device, non_blocking=True)
        with clock.phase("views"):
            views = self.look(canvas, rows, epoch=step // self.horizon.steps_per_epoch)
        return Batch(views, rows, identities=rows)

    def rows_of(self, step: int) -> Tensor:
        """Dataset rows of a step, int64 [B] on the CPU: a slice of its epoch's permutation."""
        epoch, position = divmod(step, self.horizon.steps_per_epoch)
        chosen = self.train_rows
        total = self.source.pack.rows if chosen is None else len(chosen)
        batch_rows = self.spec.batch_rows or 0
        start = position * batch_rows
        positions = torch.arange(start, min(start + batch_rows, total))
        places = shuffled(
            positions,
            total=total,
            seed=self.spec.seed,
            epoch=epoch,
            order=self.spec.order or NEWEST_ORDER,
        )
        return places if chosen is None else chosen[places]

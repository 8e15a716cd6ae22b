"""The batch of a step: which rows of the dataset it is for, and both views of each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.engine.view_maker import ViewMaker
from trainer.modalities.base import Loader
from trainer.nn.views import Batch
from trainer.optim.schedule import TrainingLength
from trainer.rng.philox import permuted_rows
from trainer.spec.resolved import ResolvedSpec


@dataclass(slots=True, kw_only=True)
class BatchStream:
    """Batches by step: a pure function of the step and the spec."""

    spec: ResolvedSpec
    length: TrainingLength
    source: Loader[Any]
    make_views: ViewMaker
    train_rows: Tensor | None = None
    """Numbers of the rows that are trained on, int64; None: all."""

    def batch_at(self, step: int) -> Batch:
        """Return the batch of `step`. Valid until the next call."""
        timer = self.source.timer
        with timer.phase("gather"):
            rows = self.rows_of(step)
        raw = self.source.raw(rows)
        with timer.phase("gather"):
            if step + 1 < self.length.steps and not self.source.is_resident:
                self.source.prefetch(self.rows_of(step + 1))
        with timer.phase("copy"):
            rows = rows.to(self.source.device, non_blocking=True)
        with timer.phase("views"):
            views = self.make_views(raw, rows, epoch=step // self.length.steps_per_epoch)
        return Batch(views, rows, identities=rows)

    def rows_of(self, step: int) -> Tensor:
        """Dataset rows of a step, int64 [B] on the CPU: a slice of its epoch's permutation."""
        epoch, position = divmod(step, self.length.steps_per_epoch)
        chosen = self.train_rows
        total = self.source.pack.rows if chosen is None else len(chosen)
        batch_rows = self.spec.batch_rows
        start = position * batch_rows
        positions = torch.arange(start, min(start + batch_rows, total))
        indices = permuted_rows(
            positions,
            total=total,
            seed=self.spec.seed,
            epoch=epoch,
            order=self.spec.order,
        )
        return indices if chosen is None else chosen[indices]

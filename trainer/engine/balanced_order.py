"""Order of rows in which each run of a few has one label: a pure function of seed and epoch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.rng.philox import permuted_rows, uniforms
from trainer.rng.seeds import derived_seed

EPOCHS_KEPT = 2
"""Orders in memory: rows are gathered ahead, across the end of an epoch."""


class BalancedOrder:
    """Groups of K rows of one label. Within a label rows are shuffled and cut, then the groups.

    What is left of a label after the last whole group is not in the epoch.
    """

    def __init__(
        self, labels: NDArray[np.int32], *, rows_per_label: int, seed: int, order: int
    ) -> None:
        """`labels` int32 [rows], -1 for rows that are in no group; `order` is a rule of shuffling.

        `rows_per_label` is K.
        """
        self._group_rows, self._seed, self._rule = rows_per_label, seed, order
        self._rows = np.flatnonzero(labels >= 0)
        self._labels = labels[self._rows]
        self._counts = np.bincount(self._labels) // rows_per_label
        self.total = int(self._counts.sum()) * rows_per_label
        """Rows of an epoch."""
        self._kept: dict[int, Tensor] = {}

    def rows_at(self, positions: Tensor, *, epoch: int) -> Tensor:
        """Return the rows at positions in [0, total) of an epoch, int64."""
        if epoch not in self._kept:
            for old in sorted(self._kept)[: 1 - EPOCHS_KEPT]:
                del self._kept[old]
            self._kept[epoch] = self._order(epoch)
        return self._kept[epoch][positions]

    def _order(self, epoch: int) -> Tensor:
        groups = self._groups(epoch)
        order = permuted_rows(
            torch.arange(len(groups)),
            total=len(groups),
            seed=derived_seed(self._seed, "groups"),
            epoch=epoch,
            order=self._rule,
        )
        return groups[order].flatten()

    def _groups(self, epoch: int) -> Tensor:
        """Return the groups of an epoch, sorted by label, int64 [groups, K]."""
        rows = torch.from_numpy(self._rows)
        seed = derived_seed(self._seed, "rows of a label")
        drawn = uniforms(rows, seed=seed, epoch=epoch, view=0, count=2).numpy().astype(np.float64)
        keys = drawn[:, 0] + drawn[:, 1] * 2.0**-24
        order = np.lexsort((keys, self._labels))
        labels = self._labels[order]
        place = np.arange(len(labels)) - np.searchsorted(labels, labels)  # within the label
        whole = place < self._counts[labels] * self._group_rows
        return torch.from_numpy(self._rows[order[whole]].reshape(-1, self._group_rows))

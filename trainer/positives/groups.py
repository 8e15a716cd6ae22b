"""Partners within groups of rows, such as those of one label."""

import numpy as np
from numpy.typing import NDArray

from trainer.positives.base import Rows
from trainer.positives.partner_draws import drawn_below


class GroupedRows:
    """Each row's partner is another row of its group; every other one is as likely.

    Rows lie sorted by group, so that a draw takes the same time however large the dataset is.
    """

    def __init__(self, groups: NDArray[np.int32], *, seed: int) -> None:
        """`groups` int32 [rows] is the group of each row, -1 for none."""
        self._groups, self._seed = groups.astype(np.int64), seed
        self._order = np.argsort(self._groups, kind="stable")
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(groups))
        counts = np.bincount(self._groups + 1)
        self._size = counts[1:]
        self._start = np.cumsum(counts)[:-1]

    @property
    def has_pairs(self) -> bool:
        """True if any row has a partner."""
        return bool((self._size > 1).any())

    def of(self, rows: Rows, *, epoch: int) -> Rows:
        """Return the partner of each row: the row itself without a group or alone in it."""
        group = self._groups[rows]
        is_grouped = group >= 0
        partners, own, group = rows.copy(), rows[is_grouped], group[is_grouped]
        size, start = self._size[group], self._start[group]
        steps = 1 + drawn_below(size - 1, rows=own, seed=self._seed, epoch=epoch)
        partners[is_grouped] = self._order[start + (self._place[own] - start + steps) % size]
        return partners

    def identities(self, rows: Rows) -> Rows:
        """Return the group of each row; a number of its own where it has none."""
        group = self._groups[rows]
        identities: Rows = np.where(group >= 0, group, len(self._size) + rows)
        return identities

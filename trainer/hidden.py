"""Which negatives a query must not see: empty slots, and older keys of its own row."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Hidden(NamedTuple):
    """Negatives that a query must not see, as row ids: a [B, K] mask never exists as a whole."""

    query_rows: Tensor | None
    """int64 [B]. None: a row's own older keys are visible."""
    negative_rows: Tensor
    """int64 [K]."""
    empty: int
    """The id in `negative_rows` that nobody sees, the lowest there: a few below 0."""

    def mask(self, some: slice | Tensor) -> Tensor:
        """Bool [B or 1, S]: True where one of `some` S negatives is hidden."""
        rows = self.negative_rows[some]
        mask = (rows == self.empty)[None, :]
        if self.query_rows is None:
            return mask
        return mask | (rows[None, :] == self.query_rows[:, None])

    def places(self) -> Tensor:
        """Negatives that one of the queries or more must not see, int64 [N], ascending.

        Waits for the device.
        """
        rows = self.negative_rows.numpy(force=True)
        owners = rows[:0] if self.query_rows is None else self.query_rows.numpy(force=True)
        # A table of all ids, for `isin` takes five times as long. Those below 0 count from its end.
        apart = np.zeros(max(rows.max(), owners.max(initial=0)) + 1 - self.empty, dtype=bool)
        apart[owners] = apart[self.empty] = True
        return torch.from_numpy(np.flatnonzero(apart[rows]))

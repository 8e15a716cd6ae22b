"""Mask for negatives: drops empty queue slots and older keys of the query's own row."""

from typing import NamedTuple

from torch import Tensor


class NegativeMask(NamedTuple):
    """Negatives to mask, as row ids: a [B, K] mask never exists as a whole."""

    query_rows: Tensor | None
    """int64 [B]; None keeps a row's own older keys."""
    negative_rows: Tensor
    """int64 [K]."""
    empty: int
    """Lowest id in `negative_rows`, below 0: marks slots that are masked for every query."""

    def columns(self, some: slice | Tensor) -> Tensor:
        """Return a bool mask [B or 1, S], True where one of `some` S negatives is dropped."""
        rows = self.negative_rows[some]
        mask = (rows == self.empty)[None, :]
        if self.query_rows is None:
            return mask
        return mask | (rows[None, :] == self.query_rows[:, None])

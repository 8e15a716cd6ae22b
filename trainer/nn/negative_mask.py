"""Mask for negatives: drops empty queue slots and older keys of the query's own row."""

from typing import NamedTuple

from torch import Tensor


class NegativeMask(NamedTuple):
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

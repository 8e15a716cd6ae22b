"""Partners nearby in time."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from trainer.positives.base import PartnerData, Rows
from trainer.positives.neighbour.defaults import no_times
from trainer.positives.neighbour.spec import NeighbourSpec
from trainer.positives.partner_draws import drawn_below
from trainer.schema.errors import SpecError
from trainer.spec.resolved import ResolvedSpec

TOLERANCE = 1e-6
"""Part of the window by which a row may lie outside, for times such as multiples of 0.1."""


class NeighbourRows:
    """Each row's partner is another row of its sequence within the window, all as likely."""

    def __init__(
        self, sequence: NDArray[np.int64], time: NDArray[np.float64], *, window: float, seed: int
    ) -> None:
        """`sequence` int64 [rows], -1 for none; `time` float64 [rows], NaN for none."""
        self._sequence, self._seed = sequence, seed
        chosen = np.flatnonzero((sequence >= 0) & ~np.isnan(time))
        order = chosen[np.lexsort((time[chosen], sequence[chosen]))]
        where = _on_one_line(sequence[order], time[order], gap=2 * window)
        reach = window * (1 + TOLERANCE)
        self._order = order
        self._first = np.searchsorted(where, where - reach, side="left")
        self._others = np.searchsorted(where, where + reach, side="right") - self._first - 1
        self._place = np.full(len(sequence), -1)
        self._place[order] = np.arange(len(order))

    @property
    def has_pairs(self) -> bool:
        """True if any row has a partner."""
        return bool(self._others.any())

    def of(self, rows: Rows, *, epoch: int) -> Rows:
        """Return the partner of each row: the row itself where no other is in its window."""
        partners, place = rows.copy(), self._place[rows]
        is_timed = place >= 0
        place = place[is_timed]
        drawn = drawn_below(self._others[place], rows=rows[is_timed], seed=self._seed, epoch=epoch)
        found = self._first[place] + drawn
        found += (found >= place) & (self._others[place] > 0)
        partners[is_timed] = self._order[found]
        return partners

    def identities(self, rows: Rows) -> Rows:
        """Return the sequence of each row; a number of its own where it has none."""
        sequence = self._sequence[rows]
        identities: Rows = np.where(sequence >= 0, sequence, len(self._sequence) + rows)
        return identities


def partners(spec: ResolvedSpec, data: PartnerData) -> NeighbourRows:
    """Return partners by time. Raises SpecError if no row has one."""
    pack, settings = data.pack, cast(NeighbourSpec, spec.positives)
    if pack.sequence is None or pack.time is None:
        raise no_times()
    sequence = np.where(data.trained, pack.sequence, -1).astype(np.int64)
    rows = NeighbourRows(sequence, pack.time, window=settings.window, seed=spec.seed)
    if not rows.has_pairs:
        raise SpecError(
            f"no two images of a sequence are within {settings.window:g} of each other; use a "
            "larger window, in the unit of the column time",
            field="positives.window",
        )
    return rows


def _on_one_line(
    sequence: NDArray[np.int64], time: NDArray[np.float64], *, gap: float
) -> NDArray[np.float64]:
    """Return times with all sequences one after another, `gap` apart; rows lie sorted by both."""
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    lengths = np.diff(np.append(starts, len(sequence)))
    spans = time[starts + lengths - 1] - time[starts] + gap
    offsets = np.concatenate([[0.0], np.cumsum(spans)[:-1]])[: len(starts)]
    line: NDArray[np.float64] = time - np.repeat(time[starts] - offsets, lengths)
    return line

"""Contract of positives: they choose the row that the second view of a pair comes from."""

from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import Pack
from trainer.positives.registry import part_of
from trainer.spec.resolved import ResolvedSpec

Rows = NDArray[np.int64]


class PartnerData(NamedTuple):
    """Data that partners are chosen from."""

    pack: Pack
    trained: NDArray[np.bool_]
    """[rows], True for rows that are trained on: no other row is ever a partner."""
    labels: NDArray[np.int32]
    """Label of each row, int32 [rows]; -1 for none, and where training may not use it."""


class Partners(Protocol):
    """Partner of each row, as a pure function of row, seed and epoch."""

    def of(self, rows: Rows, *, epoch: int) -> Rows:
        """Return the partner of each row, int64 [B]: the row itself where it has no other."""

    def identities(self, rows: Rows) -> Rows:
        """Return int64 [B], >= 0, equal where neither row may be the other's negative."""


def partner_data(pack: Pack, *, train_rows: Rows | None, held_out: Rows) -> PartnerData:
    """Return what partners are chosen from.

    `train_rows` are those that are trained on, None for all. The labels of other rows, and of rows
    `held_out`, are not used.
    """
    trained = np.full(pack.rows, train_rows is None)
    if train_rows is not None:
        trained[train_rows] = True
    labels = np.where(trained, pack.labels, np.int32(-1))
    labels[held_out] = -1
    return PartnerData(pack, trained, labels)


def load_partners(spec: ResolvedSpec, data: PartnerData) -> Partners | None:
    """Return the partners of a resolved spec; None where each row is its own.

    Raises SpecError if the rows do not allow it.
    """
    module = part_of(spec.positives.name, "partners")
    return cast(Partners | None, module.partners(spec, data))

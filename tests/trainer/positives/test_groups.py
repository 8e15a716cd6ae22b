"""Partners within groups: an equally likely other row of the group, the same whenever asked for."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

from trainer.positives.groups import GroupedRows

GROUPS = np.array([2, 0, 1, 0, -1, 2, 0, 3, 2, 0, -1, 2], np.int32)
"""Group 3 has one row, two rows have none."""
ROWS = np.arange(len(GROUPS))


def partners(rows: NDArray[np.int64], *, epoch: int = 0, seed: int = 0) -> NDArray[np.int64]:
    return GroupedRows(GROUPS, seed=seed).of(rows, epoch=epoch)


def test_a_partner_is_another_row_of_the_group() -> None:
    for epoch in range(50):
        for row, partner in zip(ROWS, partners(ROWS, epoch=epoch), strict=True):
            others = np.flatnonzero((GROUPS[row] == GROUPS) & (row != ROWS))
            if GROUPS[row] < 0 or not len(others):
                assert partner == row
            else:
                assert partner in others


def test_every_other_row_is_as_likely() -> None:
    drawn = [int(partners(np.array([3]), epoch=epoch)[0]) for epoch in range(3000)]
    counts = np.bincount(drawn, minlength=len(GROUPS))[[1, 6, 9]]
    assert counts.sum() == 3000
    assert chisquare(counts).pvalue > 1e-3


def test_a_draw_depends_on_row_epoch_and_seed_alone() -> None:
    whole = partners(ROWS, epoch=7)
    assert (partners(ROWS[::-1], epoch=7)[::-1] == whole).all()
    assert (partners(ROWS[5:6], epoch=7) == whole[5:6]).all()
    assert any((partners(ROWS, epoch=epoch) != whole).any() for epoch in range(5))
    assert any((partners(ROWS, epoch=7, seed=seed) != whole).any() for seed in range(1, 5))


def test_identities_are_equal_within_a_group_alone() -> None:
    identities = GroupedRows(GROUPS, seed=0).identities(ROWS)
    same = identities[:, None] == identities
    expected = (GROUPS[:, None] == GROUPS) & (GROUPS >= 0) | (ROWS[:, None] == ROWS)
    assert (same == expected).all()
    assert identities.min() >= 0

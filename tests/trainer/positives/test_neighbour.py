"""Partners nearby in time, against a search through all rows."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.support.service.api import facts as facts_of
from trainer.positives.base import PartnerData, Partners
from trainer.positives.neighbour.partners import NeighbourRows
from trainer.positives.registry import part_of
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

SEQUENCE = np.array([0, 1, 0, 0, -1, 1, 0, 2, 1, 0, 0, 1], np.int32)
TIME = np.array([0.3, 9.0, 0.1, 0.2, 0.2, 9.5, np.nan, 4.0, 11.0, 0.2, 1.8e9, 10.0])
ROWS, WINDOW = np.arange(len(TIME)), 0.1


def within(row: int, window: float) -> set[int]:
    """Return the other rows of its sequence that are at most `window` away."""
    return {
        other
        for other in range(len(TIME))
        if other != row and SEQUENCE[row] >= 0 and SEQUENCE[other] == SEQUENCE[row]
        if abs(TIME[other] - TIME[row]) <= window * (1 + 1e-9)
    }


def rows_of(window: float, seed: int = 0) -> NeighbourRows:
    return NeighbourRows(SEQUENCE.astype(np.int64), TIME, window=window, seed=seed)


@pytest.mark.parametrize("window", [0.1, 0.5, 2.0])
def test_partners_are_all_rows_in_the_window_and_no_other(window: float) -> None:
    """Differences of 0.1 count as 0.1, although 0.3 - 0.2 is a little less, or more, in binary."""
    neighbours = rows_of(window)
    drawn = [neighbours.of(ROWS, epoch=epoch) for epoch in range(200)]
    for row in range(len(ROWS)):
        assert {int(partners[row]) for partners in drawn} == (within(row, window) or {row})


def test_a_draw_depends_on_row_epoch_and_seed_alone() -> None:
    whole = rows_of(2.0).of(ROWS, epoch=3)
    assert (rows_of(2.0).of(ROWS[::-1], epoch=3)[::-1] == whole).all()
    assert any((rows_of(2.0, seed).of(ROWS, epoch=3) != whole).any() for seed in range(1, 6))


def test_rows_of_one_sequence_are_never_negatives() -> None:
    identities = rows_of(WINDOW).identities(ROWS)
    same = (SEQUENCE[:, None] == SEQUENCE) & (SEQUENCE >= 0)
    expected = same | np.eye(len(ROWS), dtype=bool)
    assert ((identities[:, None] == identities) == expected).all()
    assert identities.min() >= 0


def spec_of(name: str, **settings: float) -> JobSpec:
    return JobSpec.model_validate({"dataset": "x", "positives": {"name": name} | settings})


def partners_of(name: str, *, trained: Any = True, **columns: Any) -> Partners:  # noqa: ANN401
    pack: Any = SimpleNamespace(**({"sequence": None, "time": None, "pair": None} | columns))
    spec = resolve(spec_of(name), facts_of(rows=len(TIME))).spec
    data = PartnerData(pack, np.broadcast_to(trained, TIME.shape), np.full(len(TIME), -1, np.int32))
    return cast(Partners, part_of(name, "partners").partners(spec, data))


def test_rows_that_are_not_trained_on_are_no_partners() -> None:
    """Row 9 lies at the time of row 3, which is then alone in its window but for 0 and 2."""
    trained = ROWS != 9
    neighbours = partners_of("neighbour", trained=trained, sequence=SEQUENCE, time=TIME)
    drawn = {int(p) for e in range(60) for p in neighbours.of(ROWS[trained], epoch=e)}
    assert 9 not in drawn
    pair = np.array([0, 1, 0, 2, -1, 2, 2, -1, 3, 2, 1, 1], np.int32)
    pairs = partners_of("pair", trained=trained, pair=pair)
    assert pairs.of(ROWS[:3], epoch=0)[[0, 2]].tolist() == [2, 0]
    drawn = {int(p) for e in range(60) for p in pairs.of(np.array([3]), epoch=e)}
    assert drawn == {5, 6}
    assert pairs.of(np.array([4, 7, 8]), epoch=0).tolist() == [4, 7, 8]


@pytest.mark.parametrize(
    ("name", "facts", "reason"),
    [
        ("neighbour", {"timed_rows": 0}, "add it again with the columns sequence and time"),
        ("pair", {"paired_rows": 0}, "share a word in the column pair"),
    ],
)
def test_a_dataset_without_the_columns_is_refused(
    name: str, facts: dict[str, int], reason: str
) -> None:
    """At submit where the facts tell; older facts do not, and the run refuses it."""
    with pytest.raises(SpecError, match=reason) as refused:
        resolve(spec_of(name), facts_of(rows=1000, **facts))
    assert refused.value.field == "positives.name"
    with pytest.raises(SpecError, match=reason):
        partners_of(name)


def test_a_window_without_a_pair_is_refused() -> None:
    with pytest.raises(SpecError, match="no two images of a sequence are within 1 of each") as at:
        partners_of("neighbour", sequence=SEQUENCE, time=10.0 * ROWS)
    assert at.value.field == "positives.window"


def test_pairs_of_one_row_are_refused() -> None:
    with pytest.raises(SpecError, match="share a word"):
        partners_of("pair", pair=np.arange(len(TIME), dtype=np.int32))

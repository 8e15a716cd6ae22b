"""Lost work of at most a minute, at a price of at most 2 %."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.checkpoint.manager import LOST_S_MAX, OVERHEAD_MAX, checkpoint_interval_s

SECONDS = st.floats(0.0, 1e4)


@pytest.mark.parametrize(
    ("every_s", "cost_s", "write_s", "expected_s"),
    [
        (30.0, 0.0, 0.0, 30.0),  # nothing is known yet
        (30.0, 0.5, 2.0, 30.0),
        (30.0, 0.9, 5.0, 45.0),  # 2 % of 45 s
        (30.0, 0.1, 40.0, 20.0),  # a slow disk: 20 s and 40 s are a minute
        (30.0, 0.1, 90.0, 5.0),  # a disk slower than that: as soon as may be
        (600.0, 0.1, 40.0, 600.0),  # the user wants it so
        (30.0, 6.0, 50.0, 300.0),  # the price wins over the minute
    ],
)
def test_by_hand(every_s: float, cost_s: float, write_s: float, expected_s: float) -> None:
    assert checkpoint_interval_s(every_s=every_s, cost_s=cost_s, write_s=write_s) == pytest.approx(
        expected_s
    )


@given(every_s=SECONDS, cost_s=SECONDS, write_s=SECONDS)
def test_the_price_always_holds_and_the_minute_where_it_can(
    every_s: float, cost_s: float, write_s: float
) -> None:
    wait = checkpoint_interval_s(every_s=every_s, cost_s=cost_s, write_s=write_s)
    assert cost_s <= OVERHEAD_MAX * wait * (1 + 1e-9)
    room_s = LOST_S_MAX - max(write_s, cost_s / OVERHEAD_MAX)
    if every_s <= LOST_S_MAX and room_s >= 0.0 and write_s + cost_s / OVERHEAD_MAX <= LOST_S_MAX:
        assert wait + write_s <= LOST_S_MAX * (1 + 1e-9)

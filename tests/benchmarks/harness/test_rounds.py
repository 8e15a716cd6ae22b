"""Tables of a comparison."""

from benchmarks.arms.interface import Block
from benchmarks.harness.interleaving import Ratios
from benchmarks.harness.rounds import Comparison, ComparisonResult, Plan, verdict


def test_a_table_has_a_line_for_each_arm_and_the_noise() -> None:
    blocks = {
        "ours": [Block(1.0, 3.0), Block(1.0, 2.0), Block(2.0, 2.0), Block(2.0, 1.5)],
        "peer": [Block(4.0, 3.0), Block(8.0, 2.5)],
    }
    outcome = ComparisonResult(Comparison("ours", ["peer"], {"peer": 3.0}), 80, blocks)
    *_, ours, peer = outcome.table()
    assert ours == "| ours, against itself (A/A) | 60.0 | 1.00 | 1.00 to 1.00 |  |  | 1.500 |"
    assert peer == "| peer | 15.0 | 4.00 | 4.00 to 4.00 | >= 3 | yes | 2.500 |"
    assert outcome.figures()["ratios"] == {"ours": [1.0, 1.0], "peer": [4.0, 4.0]}


def test_a_bar_is_met_by_the_whole_interval() -> None:
    ratios = Ratios((2.0,), median=2.0, low=1.5, high=2.5)
    assert [verdict(ratios, bar) for bar in (None, 1.5, 1.9, 2.1)] == [
        "",
        "yes",
        "by the median",
        "no",
    ]


def test_the_command_line_changes_a_plan() -> None:
    plan = Plan(rounds=5, untimed=1, timed=3)
    assert plan.override(rounds=None, untimed=0, timed=None) == Plan(5, 0, 3)

"""The short form of `make fuzz`: a few hundred calls as everybody."""

from pathlib import Path

import pytest

from tests.fuzz.run import Plan, fuzzed_api, run
from tests.fuzz.schema import Effort

FEW = "fuzzing"
PLAN = Plan(
    efforts={
        "full": Effort(examples=5, phases=FEW),
        "session-read": Effort(examples=1, phases=FEW),
    },
    raw=150,
    race_jobs=10,
)


@pytest.mark.slow
def test_a_few_hundred_calls_find_nothing(tmp_path: Path) -> None:
    with fuzzed_api(tmp_path) as api:
        calls = run(api, PLAN, folder=tmp_path)
    assert sum(calls.values()) >= 400, calls

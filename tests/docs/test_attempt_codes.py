"""The table of codes in docs/operations.md says what the worker does with each."""

from pathlib import Path

from trainer.inference.embedder import BadEncoder
from trainer.schema.errors import TrainerError
from worker.attempt.decision import INTERNAL, NEVER_RETRY, RETRY_FREE
from worker.process.exit_status import LOST

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def codes(error: type[TrainerError] = TrainerError) -> set[str]:
    """Return the codes of all errors that derive from one."""
    return {each.code for each in error.__subclasses__()}.union(
        *(codes(each) for each in error.__subclasses__())
    )


def test_every_code_is_told_with_what_comes_of_it() -> None:
    """All codes but that of `moco embed`, which makes no attempt."""
    _, _, section = OPERATIONS.read_text().partition("## Why an attempt ended")
    lines = [line for line in section.partition("## ")[0].splitlines() if line.startswith("| `")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    told = {code.strip("`"): another for code, _, another in cells}
    assert told.keys() == codes() - {BadEncoder.code} | {LOST, INTERNAL}
    assert {code for code in told if told[code] == "free"} == RETRY_FREE
    assert {code for code in told if told[code] == "none"} == NEVER_RETRY
    assert told[INTERNAL] == "free, twice"

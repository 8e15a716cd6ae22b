"""Defects of jobs whose ranks are several processes."""

from typing import Final

from tests.mutants.runner import Mutant

GANG = "tests/worker/process/test_gang.py::test_"

GANGS: Final = (
    Mutant(
        "every rank sends events",
        "worker/process/rank.py",
        'if os.environ["RANK"] != "0":',
        "if False:",
        (GANG + "stop_ends_all_ranks_after_the_same_step",),
    ),
    Mutant(
        "the loss of a peer is taken for the cause",
        "worker/process/gang.py",
        "(_is_of_peer(errors[rank]), errors[rank].at_s, rank)",
        "(errors[rank].at_s, rank)",
        (GANG + "the_cause_is_the_rank_that_failed_first",),
    ),
    Mutant(
        "a node that is done falls silent",
        "worker/attempt/attempt_runner.py",
        'if decision.act == "wait":\n                self._await_end()\n',
        'if decision.act == "wait":\n                pass\n',
        (
            "tests/worker/attempt/test_attempt_runner.py::"
            "test_a_node_whose_ranks_are_done_keeps_its_seat_until_the_first_one_reports",
        ),
    ),
)

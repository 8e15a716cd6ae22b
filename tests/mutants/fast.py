"""Defects of what makes a step fast: the result must stay what it was."""

from typing import Final

from tests.mutants.runner import Mutant

FAST: Final = (
    Mutant(
        "a pool is started twice",
        "trainer/accel/cpu/thread_pool.py",
        "        with self._starting:  # two may ask for the first time at once\n",
        "        if True:\n",
        (
            "tests/trainer/accel/cpu/test_thread_pool.py::"
            "test_two_that_ask_for_the_first_time_at_once_have_the_same_helpers",
        ),
    ),
    Mutant(
        "a worker's owner is overruled on how threads wait",
        "trainer/accel/openmp.py",
        "if not VARIABLES.keys() & os.environ.keys():",
        "if True:",
        ("tests/trainer/accel/test_openmp.py::test_who_has_set_a_variable_has_decided",),
    ),
)

"""Defects of what makes a step fast: the result must stay what it was."""

from typing import Final

from tests.mutants.runner import Mutant

ABREAST = "tests/trainer/test_abreast.py::test_"
SOFTMAX = "tests/trainer/softmax/test_compiled.py::test_"

FAST: Final = (
    Mutant(
        "queries and keys have all threads each",
        "trainer/abreast.py",
        "_with(threads // 2), _with(threads - threads // 2)",
        "_with(threads), _with(threads)",
        (ABREAST + "each_has_half_of_the_threads_and_the_caller_keeps_its_own",),
    ),
    Mutant(
        "one of two may still run when the other has failed",
        "trainer/abreast.py",
        "        other.exception()  # not before both are done\n",
        "",
        (ABREAST + "what_one_raises_is_raised_once_the_other_is_done",),
    ),
    Mutant(
        "a crew is started twice",
        "trainer/crew.py",
        "        with self._starting:  # two may ask for the first time at once\n",
        "        if True:\n",
        (
            "tests/trainer/test_crew.py::"
            "test_two_that_ask_for_the_first_time_at_once_have_the_same_helpers",
        ),
    ),
    Mutant(
        "new keys do not reach the copy in bfloat16",
        "trainer/negatives.py",
        "            copy.laid.write(slots, newest)\n",
        "",
        (
            "tests/trainer/test_negatives.py::"
            "test_the_rounded_keys_follow_what_is_pushed_and_what_is_loaded",
        ),
    ),
    Mutant(
        "new keys lie in one order only",
        "trainer/softmax/laid.py",
        "            self.across[slots // BLOCK, :, slots % BLOCK] = rounded\n",
        "            pass\n",
        ("tests/trainer/softmax/test_laid.py::test_both_orders_hold_the_same",),
    ),
    Mutant(
        "what fills the last block weighs",
        "trainer/softmax/kernels.py",
        "if start + line >= len(rows) or rows[start + line] == nobodys:",
        "if start + line < len(rows) and rows[start + line] == nobodys:",
        (SOFTMAX + "equals_the_definition",),
    ),
    Mutant(
        "a query sees older keys of its own row",
        "trainer/softmax/kernels.py",
        "        ids[line] = rows[start + line]\n",
        "        ids[line] = nobodys\n",
        (SOFTMAX + "equals_the_definition",),
    ),
    Mutant(
        "tiles stay as we have laid them out",
        "trainer/softmax/kernels.py",
        "    set_layout(was)\n",
        "    pass\n",
        (SOFTMAX + "tiles_are_left_as_another_has_laid_them_out",),
    ),
    Mutant(
        "sums that left their range are believed",
        "trainer/softmax/compiled.py",
        "if not bool(((sums > LEAST) & (sums < MOST)).all()):",
        "if False:",
        (SOFTMAX + "what_leaves_the_range_is_looked_at_the_other_way",),
    ),
    Mutant(
        "the loss depends on the number of threads",
        "trainer/softmax/compiled.py",
        "parts = min(PARTS, blocks)",
        "parts = min(negatives.crew.threads, blocks)",
        (SOFTMAX + "bits_do_not_depend_on_threads",),
    ),
    Mutant(
        "a worker's owner is overruled on how threads wait",
        "trainer/patience.py",
        "if not VARIABLES.keys() & os.environ.keys():",
        "if True:",
        ("tests/trainer/test_patience.py::test_who_has_set_a_variable_has_decided",),
    ),
)

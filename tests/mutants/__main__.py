"""`python -m tests.mutants [WORD...]`: does each defect of the table make a test fail?

With words, only the mutants whose name or file holds one of them. Exits 1 if one survives. A mutant
with only skipped tests on this machine is reported as not judged.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.runner import BadCopy, Bench, DoesNotApply, Mutant, Outcome
from tests.mutants.table import MUTANTS

COPIES = 2


def main(words: list[str]) -> int:
    """Print a table; 0 if all were killed."""
    chosen = [one for one in MUTANTS if not words or any(_has(one, word) for word in words)]
    if not chosen:
        print(f"No mutant's name or file holds one of {words}.", file=sys.stderr)
        return 1
    began_s = time.monotonic()
    try:
        for mutant in chosen:
            mutant.check()
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            bench = Bench(Path(folder).resolve(), copies=min(COPIES, len(chosen)))
            bench.baseline(chosen)
            print(f"All tests pass without a mutant ({time.monotonic() - began_s:.0f} s).\n")
            outcomes = [_show(outcome) for outcome in bench.judge(chosen)]
    except (BadCopy, DoesNotApply) as error:
        print(error, file=sys.stderr)
        return 1
    judged = [one for one in outcomes if one.is_judged]
    survivors = [one for one in judged if not one.killed_by]
    killed = len(judged) - len(survivors)
    print(f"\n{killed} of {len(judged)} killed in {time.monotonic() - began_s:.0f} s.")
    if len(judged) < len(outcomes):
        print(
            f"{len(outcomes) - len(judged)} were not judged: all of their tests are skipped here."
        )
    for one in survivors:
        print(f"\n--- {one.mutant.name} survives; pytest said:\n{one.words}", file=sys.stderr)
    return 1 if survivors else 0


def _has(mutant: Mutant, word: str) -> bool:
    return word in mutant.name or word in mutant.file


def _show(outcome: Outcome) -> Outcome:
    mutant = outcome.mutant
    print(
        f"{mutant.name:44} {mutant.file:34} {outcome.took_s:5.0f} s  "
        f"{outcome.killed_by or ('SURVIVES' if outcome.is_judged else 'not judged')}",
        flush=True,
    )
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m tests.mutants [WORD...]`: does each defect of the table make a test fail?

With words, only the mutants whose name or file holds one of them. Exits 1 if one survives or is not
decided within its time. A mutant with only skipped tests on this machine is reported as such.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutants.runner import BadCopy, Bench, DoesNotApply, Mutant, Outcome
from tests.mutants.table import MUTANTS

COPIES = 2
FAILURES = {"survives", "timed out"}
"""Verdicts that make the run fail."""


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
    print(f"\n{_tally(outcomes)} in {time.monotonic() - began_s:.0f} s.")
    failed = [one for one in outcomes if one.verdict in FAILURES]
    for one in failed:
        print(f"\n--- {one.mutant.name}: {one.verdict}; pytest said:\n{one.words}", file=sys.stderr)
    return 1 if failed else 0


def _tally(outcomes: list[Outcome]) -> str:
    """Return the numbers of a run, in a sentence without its full stop."""
    counts = Counter(one.verdict for one in outcomes)
    told = f"{counts['killed']} of {counts['killed'] + counts['survives']} killed"
    if counts["timed out"]:
        told += f", {counts['timed out']} not decided (timed out)"
    if counts["skipped"]:
        told += f", {counts['skipped']} not judged (all of their tests are skipped here)"
    return told


def _has(mutant: Mutant, word: str) -> bool:
    return word in mutant.name or word in mutant.file


def _show(outcome: Outcome) -> Outcome:
    mutant = outcome.mutant
    print(
        f"{mutant.name:44} {mutant.file:34} {outcome.took_s:5.0f} s  "
        f"{outcome.killed_by or outcome.verdict.upper()}",
        flush=True,
    )
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

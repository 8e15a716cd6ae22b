"""One arm in a process of its own, so that it has its own threads and its own settings of OpenMP.

    python -m benchmarks.harness.arm_main NAME SETUP

SETUP is JSON. Reads lines {"steps": n} and answers each with {"seconds": s, "loss": l}; the first
answer comes unasked when the arm is ready. Ends when there are no more lines.
"""

import json
import os
import sys
from dataclasses import asdict
from typing import TextIO

from benchmarks.arms.interface import Block, Setup, arm_module


def main() -> None:
    """Answer until the input ends."""
    answers = own_stdout()
    name, setup = sys.argv[1:]
    with arm_module(name).opened(Setup(**json.loads(setup))) as arm:
        answer(answers, Block(0.0, 0.0))
        for line in sys.stdin:
            answer(answers, arm.steps(json.loads(line)["steps"]))


def answer(answers: TextIO, block: Block) -> None:
    """One line."""
    answers.write(json.dumps(asdict(block)) + "\n")
    answers.flush()


def own_stdout() -> TextIO:
    """Standard output for the answers alone: what else is printed goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w")


if __name__ == "__main__":
    main()

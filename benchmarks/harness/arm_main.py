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
    replies = claim_stdout()
    name, setup = sys.argv[1:]
    with arm_module(name).open_arm(Setup(**json.loads(setup))) as arm:
        write_block(replies, Block(0.0, 0.0))
        for line in sys.stdin:
            write_block(replies, arm.run_steps(json.loads(line)["steps"]))


def write_block(replies: TextIO, block: Block) -> None:
    """One line."""
    replies.write(json.dumps(asdict(block)) + "\n")
    replies.flush()


def claim_stdout() -> TextIO:
    """Standard output for the answers alone: what else is printed goes to standard error."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(stdout, "w")


if __name__ == "__main__":
    main()

"""Main module of an arm process, which has its own threads and OpenMP settings.

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
    """Serve requests until standard input ends."""
    replies = claim_stdout()
    name, setup = sys.argv[1:]
    with arm_module(name).open_arm(Setup(**json.loads(setup))) as arm:
        write_block(replies, Block(0.0, 0.0))
        for line in sys.stdin:
            write_block(replies, arm.run_steps(json.loads(line)["steps"]))


def write_block(replies: TextIO, block: Block) -> None:
    """Write one block as a line of JSON."""
    replies.write(json.dumps(asdict(block)) + "\n")
    replies.flush()


def claim_stdout() -> TextIO:
    """Return standard output for blocks only; other prints are redirected to standard error."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(stdout, "w")


if __name__ == "__main__":
    main()

"""Each arm of the speed benchmark makes a few steps in this process; answers as JSON.

python -m tests.support.trainer.benchmark_arms SETUP NAME...
"""

import json
import sys
from dataclasses import asdict

from benchmarks.arms.interface import Setup, arm_module


def main() -> None:
    """Eight steps, then two."""
    setup = Setup(**json.loads(sys.argv[1]))
    blocks = {}
    for name in sys.argv[2:]:
        with arm_module(name).open_arm(setup) as arm:
            blocks[name] = [asdict(arm.run_steps(count)) for count in (8, 2)]
    sys.stdout.write(json.dumps(blocks))


if __name__ == "__main__":
    main()

"""One rank of a job: `python -m worker.process.rank_main REQUEST`, started by the agent.

It is tied to its agent before it imports torch, which takes seconds.
"""

import json
import sys
from importlib import import_module

from worker.process.child_request import ChildRequest
from worker.process.rank import join_agent


def main() -> int:
    """Train as a rank of the request in the first argument, and return the exit code."""
    join_agent()
    request = ChildRequest.from_json(json.loads(sys.argv[1]))
    return int(import_module("worker.process.rank_training").train_as_rank(request))


if __name__ == "__main__":
    sys.exit(main())

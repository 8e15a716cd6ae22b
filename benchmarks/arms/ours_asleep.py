"""Our trainer with waiting threads that sleep at once."""

import os

os.environ["GOMP_SPINCOUNT"] = "0"

from benchmarks.arms.ours import open_arm  # what loads torch comes last

__all__ = ["open_arm"]

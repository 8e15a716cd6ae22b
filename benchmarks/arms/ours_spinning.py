"""Our trainer with libgomp's default: waiting threads spin."""

import os

os.environ["GOMP_SPINCOUNT"] = "300000"

from benchmarks.arms.ours import open_arm  # what loads torch comes last

__all__ = ["open_arm"]

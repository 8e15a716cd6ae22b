"""LightlySSL's MoCo in bfloat16 autocast, otherwise as in `lightly`."""

from contextlib import AbstractContextManager

from benchmarks.arms import lightly
from benchmarks.arms.interface import Arm, Setup


def open_arm(setup: Setup) -> AbstractContextManager[Arm]:
    """The loop."""
    return lightly.open_arm(setup, bf16=True)

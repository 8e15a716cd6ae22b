"""LightlySSL's MoCo inside autocast in bfloat16; all else as in `lightly`."""

from contextlib import AbstractContextManager

from benchmarks.arms import lightly
from benchmarks.arms.interface import Arm, Setup


def opened(setup: Setup) -> AbstractContextManager[Arm]:
    """The loop."""
    return lightly.opened(setup, bf16=True)

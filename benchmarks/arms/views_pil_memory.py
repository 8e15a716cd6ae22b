"""Two views of each row by torchvision and Pillow, from images that were decoded before."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.pil_views import MemoryPairs
from benchmarks.arms.views_pil_files import loop_over


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """The views."""
    yield loop_over(MemoryPairs(setup.images, setup.side_px), setup)

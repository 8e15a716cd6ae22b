"""Training loop as an experienced PyTorch user writes it.

The step of `practice_step` on images opened once, by persistent workers. Pinned memory would
change nothing: there is no device to copy to.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.loop import Loop
from benchmarks.arms.pil_views import MemoryPairs, Pair
from benchmarks.arms.practice_step import PracticeStep

CPU = torch.device("cpu")


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """The loop."""
    torch.manual_seed(0)
    loader = DataLoader(
        MemoryPairs(setup.images, setup.side_px),
        batch_size=setup.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=setup.workers,
        persistent_workers=setup.workers > 0,
    )
    practice = PracticeStep(setup, CPU)

    def step(batch: Pair, _epoch: int) -> Tensor:
        first, second = (views.to(memory_format=torch.channels_last) for views in batch)
        return practice(first, second)

    yield Loop(loader, step)

"""Two views of each row by torchvision and Pillow, from image files that workers open."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.loop import Loop
from benchmarks.arms.pil_views import FilePairs, Pair

ENDLESS_ROWS = 100_000_000
"""Rows of an endless epoch; between epochs workers would wait."""


def first_pixels(batch: Pair, _epoch: int) -> Tensor:
    """Return one value of each view, so that a block has loaded the batch."""
    return batch[0][0, 0, 0, 0] + batch[1][0, 0, 0, 0]


def loop_over(dataset: Dataset[Pair], setup: Setup) -> Loop:
    """Random batches without end."""
    torch.manual_seed(0)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=setup.batch_rows,
        sampler=RandomSampler(dataset, replacement=True, num_samples=ENDLESS_ROWS),  # type: ignore[arg-type]  # sized, as Dataset need not be
        num_workers=setup.workers,
    )
    return Loop(loader, first_pixels)


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """The views."""
    yield loop_over(FilePairs(setup.images, setup.side_px), setup)

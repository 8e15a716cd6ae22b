"""Training loop as an experienced PyTorch user writes it, on a GPU.

The step of `benchmarks.arms.practice_step` with cuDNN's search for the fastest convolution. It is
given views on the device; its loop makes them with torchvision on Pillow images in the workers of a
DataLoader. Not run on a GPU yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.arms.pil_views import Pair, TwoViews
from benchmarks.arms.practice_step import PracticeStep
from benchmarks.suites.gpu.cases import Case
from trainer.data.pack.format import Pack
from trainer.modalities.image.packed import image_of

PREFETCH_FACTOR = 1
"""Batches that each worker prefetches."""


class GpuPracticeStep:
    """Step of `benchmarks.arms.practice_step` on two views that are on the device."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self._step = PracticeStep(case, device)

    def __call__(self, batch: Pair) -> Tensor:
        """The loss."""
        with fast_settings():
            return self._step(*batch)


@contextmanager
def fast_settings() -> Iterator[None]:
    """Turn off deterministic algorithms and let cuDNN search for the fastest ones."""
    was_deterministic, was_benchmarking = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = was_benchmarking


def random_views(device: torch.device, case: Case) -> Pair:
    """Put a prepared batch of views on the device."""
    shape = (case.batch_rows, 3, case.side_px, case.side_px)
    first, second = (torch.randn(shape, device=device) for _ in range(2))
    last = torch.channels_last
    return first.contiguous(memory_format=last), second.contiguous(memory_format=last)


class PackPairs(Dataset[Pair]):
    """Two views of each row of a pack, by torchvision on Pillow."""

    def __init__(self, pack: Pack, side_px: int) -> None:
        self._pack, self._views = pack, TwoViews(side_px)

    def __len__(self) -> int:
        return self._pack.rows

    def __getitem__(self, row: int) -> Pair:
        return self._views(Image.fromarray(image_of(self._pack, row)))


def practice_batches(
    case: Case, pack: Pack, device: torch.device, *, workers: int
) -> Iterator[Pair]:
    """Yield batches of views on the device, without end."""
    settings: dict[str, Any] = {"prefetch_factor": PREFETCH_FACTOR} if workers else {}
    loader = DataLoader(
        PackPairs(pack, case.side_px),
        batch_size=case.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        **settings,
    )
    while True:
        for first, second in loader:
            yield _to_device(first, device), _to_device(second, device)


def _to_device(views: Tensor, device: torch.device) -> Tensor:
    return views.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)

"""Two views of each row of a batch, from the pack: as the trainer makes them before a step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from benchmarks.arms.interface import Arm, Block, Setup
from benchmarks.arms.ours import spec_of
from trainer.accel.device import DeviceContext
from trainer.data.pack.format import Pack
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.batch import Images
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.modality import MODALITY
from trainer.spec.defaults import resolve

CPU = torch.device("cpu")


class PackViews:
    """Random batches without end; the next one is gathered meanwhile."""

    def __init__(self, source: PackLoader, setup: Setup) -> None:
        self._source, self._batch_rows = source, setup.batch_rows
        self._views = views_of(source.pack, setup)
        self._draw = torch.Generator().manual_seed(0)
        self._next = self._rows()

    def run_steps(self, count: int) -> Block:
        """Make `count` batches."""
        mean = 0.0
        began_s = time.perf_counter()
        for number in range(count):
            rows, self._next = self._next, self._rows()
            images = self._source.raw(rows)
            self._source.prefetch(self._next)
            mean = two_views(self._views, images, rows, number)
        return Block(time.perf_counter() - began_s, mean)

    def _rows(self) -> torch.Tensor:
        return torch.randint(self._source.pack.rows, (self._batch_rows,), generator=self._draw)


def views_of(pack: Pack, setup: Setup) -> ImageAugmenter:
    """Return the augmenter of the job in `benchmarks.arms.ours`."""
    spec = resolve(spec_of(setup), pack.facts).spec
    context = DeviceContext(device=CPU, bf16=False)
    accelerator = MODALITY.accelerator(spec, pack.facts, context)
    return MODALITY.views(spec, pack.facts, context, accelerator=accelerator).augmenter


def two_views(views: ImageAugmenter, images: Images, rows: torch.Tensor, epoch: int) -> float:
    """Make both views; read one pixel, so that they cannot be skipped."""
    first, second = views.pair(images, rows, seed=0, epoch=epoch)
    return float(first[0, 0, 0, 0] + second[0, 0, 0, 0])


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """The views."""
    with PackLoader(Pack.open(Path(setup.pack)), device=CPU) as source:
        yield PackViews(source, setup)

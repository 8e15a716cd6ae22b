"""Endless batches, shared by the peers."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.arms.interface import Block

Step = Callable[[Any, int], Tensor]
"""One optimizer step on a batch of the loader, in an epoch counted from 0; the loss."""


class Loop:
    """Steps on batches of a loader, epoch after epoch."""

    def __init__(self, loader: DataLoader[Any], step: Step) -> None:
        self._loader, self._step = loader, step
        self._batches = self._endless()

    def run_steps(self, count: int) -> Block:
        """Run `count` optimizer steps."""
        loss = torch.zeros(())
        began_s = time.perf_counter()
        for _ in range(count):
            epoch, batch = next(self._batches)
            loss = self._step(batch, epoch)
        last = loss.item()
        return Block(time.perf_counter() - began_s, last)

    def _endless(self) -> Iterator[tuple[int, Any]]:
        epoch = 0
        while True:
            for batch in self._loader:
                yield epoch, batch
            epoch += 1

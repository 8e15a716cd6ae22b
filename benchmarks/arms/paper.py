"""Literal implementation of the paper's loop, Algorithm 1 of arXiv:1911.05722.

fp32, PIL views one row at a time, logits put together by `cat`, one tensor after the other in the
momentum update, a queue with a pointer.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.loop import Loop
from benchmarks.arms.pil_views import FilePairs, Pair
from benchmarks.arms.plain_encoders import DIM, plain_encoder

MOMENTUM, TEMPERATURE = 0.99, 0.1


class Step:
    """One step."""

    def __init__(self, setup: Setup) -> None:
        encoder, width = plain_encoder(setup.encoder, side_px=setup.side_px)
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
        self.query = nn.Sequential(encoder, head)
        self.key = copy.deepcopy(self.query)
        for parameter in self.key.parameters():
            parameter.requires_grad = False
        self.queue = F.normalize(torch.randn(DIM, setup.queue_rows), dim=0)
        self.pointer = 0
        self.optimizer = torch.optim.SGD(
            self.query.parameters(), lr=setup.lr, momentum=0.9, weight_decay=5e-4, foreach=False
        )

    def __call__(self, batch: Pair, _epoch: int) -> Tensor:
        """One step."""
        queries = F.normalize(self.query(batch[0]), dim=1)
        with torch.no_grad():
            for query, key in zip(self.query.parameters(), self.key.parameters(), strict=True):
                key.data = key.data * MOMENTUM + query.data * (1.0 - MOMENTUM)
            keys = F.normalize(self.key(batch[1]), dim=1)
        positive = torch.einsum("nc,nc->n", queries, keys).unsqueeze(1)
        negative = torch.einsum("nc,ck->nk", queries, self.queue.clone().detach())
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        self.optimizer.step()
        self._enqueue(keys)
        return loss.detach()

    def _enqueue(self, keys: Tensor) -> None:
        """The batch divides the queue, as the authors demand."""
        end = self.pointer + len(keys)
        self.queue[:, self.pointer : end] = keys.T
        self.pointer = end % self.queue.shape[1]


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """The loop."""
    torch.manual_seed(0)
    loader = DataLoader(
        FilePairs(setup.images, setup.side_px),
        batch_size=setup.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=setup.workers,
    )
    yield Loop(loader, Step(setup))

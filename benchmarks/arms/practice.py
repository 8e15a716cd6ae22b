"""The loop as somebody writes it who knows PyTorch well.

Autocast in bfloat16, channels_last, one call for all tensors in optimizer and momentum update, a
queue written in place, images opened once, workers that live on. Pinned memory would change
nothing: there is no device to copy to.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.loop import DIM, Loop, plain_encoder
from benchmarks.arms.pil_views import FromMemory, Pair

MOMENTUM, TEMPERATURE = 0.99, 0.1


class Step:
    """One step."""

    def __init__(self, setup: Setup) -> None:
        encoder, width = plain_encoder(setup)
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
        # torch's types know `memory_format` only as a keyword of this overload.
        self.query = nn.Sequential(encoder, head).to(memory_format=torch.channels_last)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.mine: list[Tensor] = list(self.query.parameters())
        self.its: list[Tensor] = list(self.key.parameters())
        self.queue = F.normalize(torch.randn(setup.queue_rows, DIM), dim=1)
        self.pointer = 0
        self.optimizer = torch.optim.SGD(
            self.mine, lr=setup.lr, momentum=0.9, weight_decay=5e-4, fused=True
        )
        self.target = torch.zeros(setup.batch_rows, dtype=torch.long)

    def __call__(self, batch: Pair, _epoch: int) -> Tensor:
        """One step."""
        first, second = (views.to(memory_format=torch.channels_last) for views in batch)
        with torch.autocast("cpu", torch.bfloat16):
            queries = F.normalize(self.query(first).float(), dim=1)
            with torch.no_grad():
                torch._foreach_lerp_(self.its, self.mine, 1.0 - MOMENTUM)
                keys = F.normalize(self.key(second).float(), dim=1)
            logits = queries @ self.queue.T
        positive = (queries * keys).sum(1, keepdim=True)
        loss = F.cross_entropy(torch.cat([positive, logits], dim=1) / TEMPERATURE, self.target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        self.optimizer.step()
        end = self.pointer + len(keys)
        self.queue[self.pointer : end].copy_(keys)
        self.pointer = end % len(self.queue)
        return loss.detach()


@contextmanager
def opened(setup: Setup) -> Iterator[Arm]:
    """The loop."""
    torch.manual_seed(0)
    loader = DataLoader(
        FromMemory(setup.images, setup.side_px),
        batch_size=setup.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=setup.workers,
        persistent_workers=setup.workers > 0,
    )
    yield Loop(loader, Step(setup))

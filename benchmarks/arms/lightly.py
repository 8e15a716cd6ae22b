"""LightlySSL's MoCo as its documentation trains it: its dataset, transform, modules and loss.

Their settings, but for the side of the views and the batch, which all arms share.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.moco_transform import MoCoV2Transform
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.loop import Loop
from benchmarks.arms.plain_encoders import DIM, plain_encoder

EPOCHS = 10
MOMENTUM = (0.996, 1.0)
"""Momentum at the first and at the last epoch."""


class Towers(nn.Module):
    """Encoder and head with their momentum copies."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.backbone, width = plain_encoder(setup.encoder, side_px=setup.side_px)
        self.head = MoCoProjectionHead(width, width, DIM)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.head_momentum = copy.deepcopy(self.head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.head_momentum)

    def queries(self, views: Tensor) -> Tensor:
        """[B, dim]."""
        embeddings: Tensor = self.head(self.backbone(views).flatten(start_dim=1))
        return embeddings

    def keys(self, views: Tensor) -> Tensor:
        """[B, dim], without a gradient."""
        embeddings: Tensor = self.head_momentum(self.backbone_momentum(views).flatten(start_dim=1))
        return embeddings.detach()


class Step:
    """One step of their loop."""

    def __init__(self, setup: Setup, *, bf16: bool) -> None:
        self.towers = Towers(setup)
        self.loss = NTXentLoss(memory_bank_size=(setup.queue_rows, DIM))
        self.optimizer = torch.optim.SGD(self.towers.parameters(), lr=setup.lr)
        self.bf16 = bf16

    def __call__(self, batch: Any, epoch: int) -> Tensor:  # noqa: ANN401  # what its dataset gives
        """One step."""
        momentum = cosine_schedule(min(epoch, EPOCHS - 1), EPOCHS, *MOMENTUM)
        for online, momentum_module in (
            (self.towers.backbone, self.towers.backbone_momentum),
            (self.towers.head, self.towers.head_momentum),
        ):
            update_momentum(online, momentum_module, m=momentum)
        query_views, key_views = batch[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            queries = self.towers.queries(query_views)
            keys = self.towers.keys(key_views)
            loss: Tensor = self.loss(queries, keys)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


@contextmanager
def open_arm(setup: Setup, *, bf16: bool = False) -> Iterator[Arm]:
    """The loop."""
    torch.manual_seed(0)
    dataset = LightlyDataset(setup.images, transform=MoCoV2Transform(input_size=setup.side_px))
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=setup.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=setup.workers,
    )
    yield Loop(loader, Step(setup, bf16=bf16))

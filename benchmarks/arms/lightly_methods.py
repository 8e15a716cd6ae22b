"""LightlySSL's own losses, heads and momentum updates in a plain loop, with the recipe of a spec.

Encoder with its batch norm, optimizer, schedule, views and the numbers of the method are those of
the resolved spec, so that what is compared is the implementation.
"""

import copy
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules.heads import ProjectionHead
from lightly.models.utils import (
    batch_shuffle,
    batch_unshuffle,
    deactivate_requires_grad,
    update_momentum,
)
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.arms.reference_trainer import PilDataset
from trainer.data.pack.format import Pack
from trainer.distributed.world import ALONE
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.nn.towers import feature_dim
from trainer.nn.views import Pixels
from trainer.spec.resolved import ResolvedSpec


class Peer(nn.Module, ABC):
    """Encoder with a head; the base of all."""

    world = ALONE
    """Read by the evaluators."""

    def __init__(self, spec: ResolvedSpec) -> None:
        super().__init__()
        self.encoder = build_encoder(
            image_encoder(spec),
            side_px=resolved_views(spec).side_px,
            bn_splits=spec.method.batch_norm_groups,
        )
        self.width = feature_dim(self.encoder)
        self.method: Any = spec.method  # each method has fields of its own

    def embed(self, view: Pixels, *, feature: str) -> Tensor:
        """Return backbone features as the evaluator asks for them."""
        assert feature == "backbone"
        features: Tensor = self.encoder(view.pixels)
        return features

    @abstractmethod
    def loss(self, first: Tensor, second: Tensor, momentum: float) -> Tensor:
        """Return the loss of two batches of views; `momentum` is that of a slow network."""


class MoCo(Peer):
    """Queue of negatives: NTXentLoss with its memory bank."""

    def __init__(self, spec: ResolvedSpec) -> None:
        super().__init__(spec)
        method = self.method
        hidden = [] if method.head == "linear" else [(self.width, self.width, None, nn.ReLU())]
        self.head = ProjectionHead([*hidden, (self.width, method.dim, None, None)])
        self.key_encoder, self.key_head = copy.deepcopy(self.encoder), copy.deepcopy(self.head)
        deactivate_requires_grad(self.key_encoder)
        deactivate_requires_grad(self.key_head)
        size = (method.queue_rows, method.dim)
        self.criterion = NTXentLoss(temperature=method.temperature, memory_bank_size=size)

    def loss(self, first: Tensor, second: Tensor, momentum: float) -> Tensor:
        """Return InfoNCE against the bank, with keys made in another order."""
        update_momentum(self.encoder, self.key_encoder, m=momentum)
        update_momentum(self.head, self.key_head, m=momentum)
        queries = self.head(self.encoder(first))
        with torch.no_grad():
            shuffled, order = batch_shuffle(second)
            keys = batch_unshuffle(self.key_head(self.key_encoder(shuffled)), order)
        loss: Tensor = self.criterion(queries, keys)
        return loss


class SimCLR(Peer):
    """NTXentLoss within the batch."""

    def __init__(self, spec: ResolvedSpec) -> None:
        super().__init__(spec)
        hidden = (self.width, self.width, nn.BatchNorm1d(self.width), nn.ReLU())
        self.head = ProjectionHead([hidden, (self.width, self.method.dim, None, None)])
        self.criterion = NTXentLoss(temperature=self.method.temperature)

    def loss(self, first: Tensor, second: Tensor, momentum: float) -> Tensor:
        """Return NT-Xent of both views, from one pass."""
        del momentum
        embeddings = self.head(self.encoder(torch.cat([first, second])))
        loss: Tensor = self.criterion(*embeddings.chunk(2))
        return loss


class BYOL(Peer):
    """Negative cosine similarity of predictions and a slow network's projections."""

    def __init__(self, spec: ResolvedSpec) -> None:
        super().__init__(spec)
        dim, hidden = self.method.dim, self.method.head_hidden
        self.head = _byol_head(self.width, hidden, dim)
        self.predictor = _byol_head(dim, self.method.predictor_hidden, dim)
        self.key_encoder, self.key_head = copy.deepcopy(self.encoder), copy.deepcopy(self.head)
        deactivate_requires_grad(self.key_encoder)
        deactivate_requires_grad(self.key_head)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, first: Tensor, second: Tensor, momentum: float) -> Tensor:
        """Return 2 - 2 cos, the mean of both orders, as the spec's method does.

        Its examples take the mean of -cos: at an equal learning rate half the gradient.
        """
        update_momentum(self.encoder, self.key_encoder, m=momentum)
        update_momentum(self.head, self.key_head, m=momentum)
        predictions = [self.predictor(self.head(self.encoder(view))) for view in (first, second)]
        with torch.no_grad():
            targets = [self.key_head(self.key_encoder(view)) for view in (second, first)]
        pairs = zip(predictions, targets, strict=True)
        return 2.0 + torch.stack([self.criterion(*pair) for pair in pairs]).sum()


def _byol_head(width: int, hidden: int, dim: int) -> ProjectionHead:
    norm = nn.BatchNorm1d(hidden)
    return ProjectionHead([(width, hidden, norm, nn.ReLU()), (hidden, dim, None, None, False)])


PEERS: dict[str, type[Peer]] = {"moco": MoCo, "simclr": SimCLR, "byol": BYOL}


def train_peer(spec: ResolvedSpec, pack: Pack, *, workers: int) -> Peer:
    """Return the peer of the spec's method after the whole run."""
    if spec.optim.name != "sgd" or spec.schedule.name != "cosine":
        raise ValueError("the peers know SGD and a cosine")
    torch.manual_seed(spec.seed)
    peer = PEERS[spec.method.name](spec)
    learning = [each for each in peer.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(
        learning,
        lr=spec.optim.lr,
        momentum=spec.optim.momentum,
        weight_decay=spec.optim.weight_decay,
    )
    loader: DataLoader[Any] = DataLoader(
        PilDataset(pack, spec),
        batch_size=spec.batch_rows,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    for epoch in range(spec.epochs):
        lr = spec.optim.lr * (1.0 + math.cos(math.pi * epoch / spec.epochs)) / 2.0
        for group in optimizer.param_groups:
            group["lr"] = lr
        for step, (first, second, _rows) in enumerate(loader, start=epoch * len(loader)):
            momentum = momentum_at(peer.method, step, spec.epochs * len(loader))
            loss = peer.loss(first, second, momentum)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimizer.step()
    return peer


def momentum_at(method: Any, step: int, steps: int) -> float:  # noqa: ANN401 - any method's settings
    """Return the momentum of a slow network at a step; 0 for methods without one."""
    if getattr(method, "momentum_schedule", "") == "cosine":
        return float(cosine_schedule(step, steps, method.momentum, 1.0))
    return float(getattr(method, "momentum", 0.0))

"""The slow arm of `quality`: the recipe of a spec in a plain loop of PyTorch.

fp32 on contiguous tensors, Pillow views one row at a time, all logits put together, one tensor
after the other in the momentum update, the learning rate written out. It shares the encoder with
the trainer, whose split batch norm is part of the recipe, and nothing else.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from trainer.data.pack.format import Pack
from trainer.distributed.world import ALONE
from trainer.methods.moco.defaults import moco_of
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.packed import image_of
from trainer.modalities.image.spec import image_encoder, image_views
from trainer.nn.towers import feature_dim
from trainer.nn.views import Pixels
from trainer.spec.job import JobSpec

NO_ROW = -1


class Row(NamedTuple):
    """Two views of one row, float32 [3, side, side], and the row's number."""

    first: Tensor
    second: Tensor
    row: int


class PilDataset(Dataset[Row]):
    """Rows of a pack as Pillow images, for torchvision."""

    def __init__(self, pack: Pack, spec: JobSpec) -> None:
        views = image_views(spec)
        assert isinstance(views, ResolvedViewsSpec)
        self._pack = pack
        self._first, self._second = (_view(each, pack) for each in (views, views.of_second()))

    def __len__(self) -> int:
        return self._pack.rows

    def __getitem__(self, row: int) -> Row:
        image = Image.fromarray(image_of(self._pack, row))
        return Row(self._first(image), self._second(image), row)


def _view(views: ResolvedViewsSpec, pack: Pack) -> transforms.Compose:
    """Return torchvision's transforms of these settings."""
    if views.blur_p or views.grey_first or views.count > 2:
        raise ValueError("the reference knows neither blur, grey_first nor more than two views")
    solarize = transforms.RandomSolarize(threshold=128, p=views.solarize_p)
    colors = (views.brightness, views.contrast, views.saturation, views.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                views.side_px, scale=views.crop_scale, ratio=views.crop_ratio
            ),
            transforms.RandomHorizontalFlip(views.flip_p),
            transforms.RandomApply([transforms.ColorJitter(*colors)], p=views.jitter_p),
            transforms.RandomGrayscale(views.grey_p),
            *([solarize] if views.solarize_p else []),
            transforms.ToTensor(),
            transforms.Normalize(pack.facts.mean, pack.facts.std),
        ]
    )


class Towers(nn.Module):
    """Both encoders with their heads, and the queue."""

    world = ALONE
    """Read by the evaluators."""

    def __init__(self, spec: JobSpec) -> None:
        """`spec` is resolved."""
        super().__init__()
        method = moco_of(spec)
        assert method.queue_rows is not None
        encoder = build_encoder(
            image_encoder(spec), side_px=image_views(spec).side_px or 0, bn_splits=method.bn_splits
        )
        width = feature_dim(encoder)
        head: nn.Module = nn.Linear(width, method.dim)
        if method.head == "mlp":
            head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, method.dim))
        self.query = nn.Sequential(encoder, head)
        self.key = copy.deepcopy(self.query)
        for parameter in self.key.parameters():
            parameter.requires_grad = False
        self.queue = F.normalize(torch.randn(method.queue_rows, method.dim), dim=1)
        self.owners = torch.full((method.queue_rows,), NO_ROW)

    def embed(self, view: Pixels, *, feature: str) -> Tensor:
        """Return features as the evaluator asks for them."""
        network = self.query if feature == "projection" else self.query[0]
        features: Tensor = network(view.pixels)
        return features


class Trainer:
    """The loop."""

    def __init__(self, spec: JobSpec, pack: Pack, *, workers: int) -> None:
        """`spec` is resolved: SGD and a cosine that moves once an epoch, an asymmetric loss."""
        optim, method = spec.optim, moco_of(spec)
        if optim.name != "sgd" or spec.schedule.name != "cosine" or method.symmetric:
            raise ValueError("the reference knows SGD, a cosine, and one half of the loss")
        torch.manual_seed(spec.seed)
        self.spec = spec
        self.towers = Towers(spec)
        self.optimizer = torch.optim.SGD(
            self.towers.query.parameters(),
            lr=optim.lr or 0.0,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay or 0.0,
            foreach=False,
        )
        self.loader: DataLoader[Any] = DataLoader(
            PilDataset(pack, spec),
            batch_size=spec.batch_rows,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def run(self) -> float:
        """All epochs; the last loss."""
        epochs, peak = self.spec.epochs or 0, self.spec.optim.lr or 0.0
        loss = math.nan
        for epoch in range(epochs):
            for group in self.optimizer.param_groups:
                group["lr"] = peak * (1.0 + math.cos(math.pi * epoch / epochs)) / 2.0
            for batch in self.loader:
                loss = self._step(*batch)
        return loss

    def _step(self, first: Tensor, second: Tensor, rows: Tensor) -> float:
        towers, method = self.towers, moco_of(self.spec)
        queries = F.normalize(towers.query(first), dim=1)
        keys = self._keys(second)
        positive = (queries * keys).sum(dim=1, keepdim=True)
        negative = queries @ towers.queue.clone().T
        if method.mask_own_keys:
            negative = negative.masked_fill(rows[:, None] == towers.owners[None, :], -math.inf)
        logits = torch.cat([positive, negative], dim=1) / (method.start_temperature or 0.0)
        loss = F.cross_entropy(logits, torch.zeros(len(rows), dtype=torch.long))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        self.optimizer.step()
        self._update_key_encoder()
        # The newest first; what falls off the end is the oldest.
        towers.queue = torch.cat([keys, towers.queue])[: len(towers.queue)]
        towers.owners = torch.cat([rows, towers.owners])[: len(towers.owners)]
        return loss.item()

    @torch.no_grad()
    def _keys(self, views: Tensor) -> Tensor:
        """Compute keys in another order, so that batch norm groups them unlike the queries."""
        order = torch.randperm(len(views))
        keys = torch.empty(len(views), moco_of(self.spec).dim)
        keys[order] = F.normalize(self.towers.key(views[order]), dim=1)
        return keys

    @torch.no_grad()
    def _update_key_encoder(self) -> None:
        momentum = moco_of(self.spec).momentum or 0.0
        pairs = zip(self.towers.query.parameters(), self.towers.key.parameters(), strict=True)
        for query_param, key_param in pairs:
            key_param.copy_(momentum * key_param + (1.0 - momentum) * query_param)


def train_reference(spec: JobSpec, pack: Pack, *, workers: int) -> Towers:
    """The towers after the whole run."""
    trainer = Trainer(spec, pack, workers=workers)
    trainer.run()
    return trainer.towers

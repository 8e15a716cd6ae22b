"""The loop as somebody writes it who knows PyTorch well, on any device.

Autocast in bfloat16, channels_last, one call for all tensors in optimizer and momentum update, a
queue written in place, the library's own search for the fastest convolution, batch norm over the
whole batch. Its step is given views that lie on the device; its loop makes them with torchvision
on Pillow images in the workers of a DataLoader. Not run on a GPU yet.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.arms.pil_views import Pair, TwoViews
from benchmarks.gpu_parts.case import DIM, LR, MOMENTUM, TEMPERATURE, Case
from trainer.data.pack import Pack
from trainer.encoders.build import build_encoder, feature_dim
from trainer.encoders.spec import EncoderName, EncoderSpec

AHEAD = 1
"""Batches that each worker has ready."""


class PracticeStep:
    """One step on two views."""

    def __init__(self, case: Case, device: torch.device) -> None:
        torch.manual_seed(0)
        spec = EncoderSpec(name=cast(EncoderName, case.encoder))
        encoder = build_encoder(spec, side_px=case.side_px)
        width = feature_dim(encoder)
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
        query = nn.Sequential(encoder, head).to(device)
        # torch's types know `memory_format` only as a keyword of this overload.
        self.query = query.to(memory_format=torch.channels_last)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.mine: list[Tensor] = list(self.query.parameters())
        self.its: list[Tensor] = list(self.key.parameters())
        self.queue = F.normalize(torch.randn(case.queue_rows, DIM, device=device), dim=1)
        self.pointer = 0
        self.optimizer = torch.optim.SGD(
            self.mine, lr=LR, momentum=0.9, weight_decay=5e-4, foreach=True
        )
        self.target = torch.zeros(case.batch_rows, dtype=torch.long, device=device)
        self.device = device

    def __call__(self, batch: Pair) -> Tensor:
        """The loss."""
        with quick():
            return self._step(*batch)

    def _step(self, first: Tensor, second: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
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
def quick() -> Iterator[None]:
    """Without the settings with which our own runs repeat themselves bit for bit."""
    exact, search = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(exact)
        torch.backends.cudnn.benchmark = search


def views_on(device: torch.device, case: Case) -> Pair:
    """A batch of views that somebody made before."""
    shape = (case.batch_rows, 3, case.side_px, case.side_px)
    first, second = (torch.randn(shape, device=device) for _ in range(2))
    last = torch.channels_last
    return first.contiguous(memory_format=last), second.contiguous(memory_format=last)


class FromPack(Dataset[Pair]):
    """Two views of each row of a pack, by torchvision on Pillow."""

    def __init__(self, pack: Pack, side_px: int) -> None:
        self._pack, self._views = pack, TwoViews(side_px)

    def __len__(self) -> int:
        return self._pack.rows

    def __getitem__(self, row: int) -> Pair:
        return self._views(Image.fromarray(self._pack.image(row)))


def batches(case: Case, pack: Pack, device: torch.device, *, workers: int) -> Iterator[Pair]:
    """Views without end, on the device."""
    settings: dict[str, Any] = {"prefetch_factor": AHEAD} if workers else {}
    loader = DataLoader(
        FromPack(pack, case.side_px),
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
            yield _moved(first, device), _moved(second, device)


def _moved(views: Tensor, device: torch.device) -> Tensor:
    return views.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)

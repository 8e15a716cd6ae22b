"""Training step as an experienced PyTorch user writes it, on any device.

Autocast in bfloat16, channels_last, one call for all tensors in optimizer and momentum update, a
queue written in place, batch norm over the whole batch.
"""

import copy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.arms.plain_encoders import DIM, plain_encoder

MOMENTUM, TEMPERATURE, LR = 0.99, 0.1, 0.06


class Sizes(Protocol):
    """Sizes shared by all arms."""

    @property
    def encoder(self) -> str:
        """Name."""

    @property
    def side_px(self) -> int:
        """Side of the views."""

    @property
    def batch_rows(self) -> int:
        """B."""

    @property
    def queue_rows(self) -> int:
        """K."""


class PracticeStep:
    """One step on two views."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        encoder, width = plain_encoder(sizes.encoder, side_px=sizes.side_px)
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
        query = nn.Sequential(encoder, head).to(device)
        # torch's types know `memory_format` only as a keyword of this overload.
        self.query = query.to(memory_format=torch.channels_last)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.query_params: list[Tensor] = list(self.query.parameters())
        self.key_params: list[Tensor] = list(self.key.parameters())
        self.queue = F.normalize(torch.randn(sizes.queue_rows, DIM, device=device), dim=1)
        self.pointer = 0
        self.optimizer = torch.optim.SGD(
            self.query_params, lr=LR, momentum=0.9, weight_decay=5e-4, fused=True
        )
        self.target = torch.zeros(sizes.batch_rows, dtype=torch.long, device=device)
        self.device = device

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of views [B, 3, S, S] in channels_last memory on the device."""
        with torch.autocast(self.device.type, torch.bfloat16):
            queries = F.normalize(self.query(first).float(), dim=1)
            with torch.no_grad():
                torch._foreach_lerp_(self.key_params, self.query_params, 1.0 - MOMENTUM)
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

"""Batch norm in groups of rows, as all its forms take it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class GroupedBatchNorm(NamedTuple):
    """Parameters, running statistics and settings of one call. Tensors are float32 [C]."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    """Moved in place by the mean over the groups, as is `running_var`."""
    running_var: Tensor
    groups: int
    """Runs of neighbouring rows, each normalized by statistics of its own."""
    momentum: float
    eps: float
    relu: bool
    """True if a ReLU follows."""

    def repeated_statistics(self) -> tuple[Tensor, Tensor]:
        """Return running means and variances, [groups, C] each, that the groups may move."""
        return self.running_mean.repeat(self.groups, 1), self.running_var.repeat(self.groups, 1)

    @torch.no_grad()
    def take_mean_of(self, means: Tensor, variances: Tensor) -> None:
        """Write the mean over groups, of statistics [groups, C], to the running statistics."""
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0))


def add_relu_(x: Tensor, added: Tensor | None, *, relu: bool) -> Tensor:
    """Add `added`, if any, to `x` in place; then apply the ReLU in place if `relu`."""
    if added is not None:
        x = x.add_(added)
    return F.relu_(x) if relu else x


def is_channels_last(x: Tensor) -> bool:
    """Return whether the pixels of [N, C, H, W] lie with their channels together."""
    return x.is_contiguous(memory_format=torch.channels_last)


def contiguous_like(other: Tensor, x: Tensor) -> Tensor:
    """Return `other` in the memory order of `x`, which is channels_last or contiguous."""
    order = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return other.contiguous(memory_format=order)

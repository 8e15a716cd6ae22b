"""Batch norm in groups of rows, so that one device behaves like many small ones."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.autograd import Context
from trainer.batchnorm import compiled
from trainer.crew import Crew


class Norm(Protocol):
    """Makes the batch norms of a network."""

    def __call__(self, num_features: int, *, relu: bool = False) -> nn.Module:
        """One of so many channels; `relu`: one follows."""


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of a group of rows, not of the whole batch.

    Statistics of the whole batch tell a query which batch its key came from: MoCo then finds the
    key without learning (He et al. 2020, section 3.3, "Shuffling BN"). Keys and buffers are those
    of nn.BatchNorm2d, so the weights load without this class; in eval mode it is the same.

    Groups are runs of neighbouring rows. The authors' reshape to [N/s, s C, H, W] is the same
    arithmetic with every s-th row, in one kernel, but only without copies in NCHW memory; a run
    of rows is a view in NCHW and NHWC alike, and bf16 trains in NHWC.
    """

    def __init__(
        self, num_features: int, *, splits: int, relu: bool = False, crew: Crew | None = None
    ) -> None:
        """`splits`: groups wanted, as the simulated number of devices.

        `relu`: one follows. `crew`: train by compiled code where that is possible.
        """
        super().__init__(num_features)
        self.splits, self.relu, self.crew = splits, relu, crew

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """[N, C, H, W] to the same shape: normalised, then `added` to it, then the ReLU.

        With a crew and without gradients `x` may be written over, as by an in-place ReLU.
        The running statistics move by the groups' mean.
        """
        groups = group_count(x.shape[0], splits=self.splits)
        if not self.training or groups == 1:
            return self._finished(super().forward(x), added)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if self.crew is not None and compiled.is_possible(x):
            in_place = not torch.is_grad_enabled()
            settings = compiled.Settings(self.crew, groups, self.eps, self.relu, in_place)
            return self._by_crew(x, added, settings)
        return self._finished(self._by_library(x, groups), added)

    def _by_crew(self, x: Tensor, added: Tensor | None, settings: compiled.Settings) -> Tensor:
        affine = torch.stack([self.weight, self.bias])
        normed, moments = cast(
            tuple[Tensor, Tensor], compiled.Normed.apply(x, affine, added, settings)
        )
        pixels = x.numel() // x.shape[1] // settings.groups
        mean, _, variance = moments.mean(0)
        self._move("running_mean", mean)
        self._move("running_var", variance * (pixels / (pixels - 1)))
        return normed

    @torch.no_grad()
    def _move(self, name: str, new: Tensor) -> None:
        getattr(self, name).lerp_(new, self.momentum or 0.0)

    def _by_library(self, x: Tensor, groups: int) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        means = self.running_mean.repeat(groups, 1)  # [groups, C]
        variances = self.running_var.repeat(groups, 1)
        settings = (self.momentum or 0.0, self.eps)
        way = _Normed.apply if x.device.type == "cpu" else _normed_and_joined
        normed: Tensor = way(x, self.weight, self.bias, (means, variances), settings)
        with torch.no_grad():
            self.running_mean.copy_(means.mean(0))
            self.running_var.copy_(variances.mean(0))
        return normed

    def _finished(self, normed: Tensor, added: Tensor | None) -> Tensor:
        if added is not None:
            normed = normed.add_(added)
        return F.relu_(normed) if self.relu else normed


class DoneReLU(nn.ReLU):
    """Stands where a ReLU belongs whose work the norm before it has done."""

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        return x


class _Context(Context, Protocol):
    eps: float


def _normed_and_joined(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor],
    settings: tuple[float, float],
) -> Tensor:
    """Batch norm of each group by the device's own library."""
    momentum, eps = settings
    normed = [
        F.batch_norm(part, mean, var, weight, bias, True, momentum, eps)
        for part, mean, var in zip(x.chunk(len(running[0])), *running, strict=True)
    ]
    return torch.cat(normed)


class _Normed(torch.autograd.Function):
    """Batch norm of each group, written to its place at once: there is nothing to put together."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        settings: tuple[float, float],
    ) -> Tensor:
        """`running` statistics [groups, C] move; `settings` are momentum and eps."""
        momentum, ctx.eps = settings
        means, inverses = (torch.empty_like(running[0]) for _ in range(2))
        normed = torch.empty_like(x)
        for part, place, old_mean, old_var, mean, inverse in zip(
            *_groups(x, normed, groups=len(means)), *running, means, inverses, strict=True
        ):
            moved = (part, weight, bias, old_mean, old_var, True, momentum, ctx.eps)
            torch.native_batch_norm(*moved, out=(place, mean, inverse))
        ctx.save_for_backward(x, weight, means, inverses)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight, means, inverses = ctx.saved_tensors
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if is_last else torch.contiguous_format
        grad = grad.contiguous(memory_format=order)
        of_x, of_both = torch.empty_like(x), []
        for one_grad, part, place, mean, inverse in zip(
            *_groups(grad, x, of_x, groups=len(means)), means, inverses, strict=True
        ):
            found = torch.ops.aten.native_batch_norm_backward(
                one_grad, part, weight, None, None, mean, inverse, True, ctx.eps, [True] * 3
            )
            place.copy_(found[0])  # still in the core's cache
            of_both += found[1:]
        of_weight, of_bias = (torch.stack(of_both[start::2]).sum(0) for start in (0, 1))
        return of_x, of_weight, of_bias, None, None


def _groups(*tensors: Tensor, groups: int) -> list[tuple[Tensor, ...]]:
    return [tensor.chunk(groups) for tensor in tensors]


def group_count(rows: int, *, splits: int) -> int:
    """The most groups <= `splits` that divide `rows` evenly and leave two rows or more each."""
    fitting = [n for n in range(1, splits + 1) if rows % n == 0 and rows // n >= 2]
    return max(fitting, default=1)

"""Batch norm with the statistics of the global batch, whose rows are on several ranks."""

from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.distributed.world import World
from trainer.util.autograd import Context


def synced_batch_norm(x: Tensor, norm: _BatchNorm, world: World) -> Tensor:
    """Normalize [N, C, ...] as one process would with the rows of all ranks.

    Two small collectives: means and variances forward, two sums backward. Running statistics move
    in place.
    """
    results = _SyncedBatchNorm.apply(x, norm.weight, norm.bias, norm.eps, world)
    normed, mean, variance = cast(tuple[Tensor, Tensor, Tensor], results)
    count, momentum = world.size * x.numel() // x.shape[1], norm.momentum or 0.0
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
    return normed


class _Context(Context, Protocol):
    eps: float
    world: World

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _SyncedBatchNorm(torch.autograd.Function):
    """Normalization by moments that all ranks share. Source: arXiv:1502.03167, Algorithm 1."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the result, and mean and biased variance [C] of the global batch."""
        exact, over = _exact(x, weight), _all_but_channels(x)
        moments = torch.stack(torch.var_mean(exact, over, correction=0))
        variances, means = world.gather_statistics(moments).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.world = world
        ctx.mark_non_differentiable(mean, variance)
        normed = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        return normed, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight, mean, inverse = ctx.saved_tensors
        grad, exact, over = _exact(grad, weight), _exact(x, weight), _all_but_channels(x)
        normed = (exact - _columns(mean, x)) * _columns(inverse, x)
        of_bias, of_weight = grad.sum(over), (grad * normed).sum(over)
        count = x.numel() // x.shape[1]
        means = ctx.world.gather_statistics(torch.stack([of_bias, of_weight]) / count).mean(0)
        rest = grad - _columns(means[0], x) - normed * _columns(means[1], x)
        of_x = rest * _columns(weight * inverse, x)
        return of_x.to(x.dtype), of_weight, of_bias, None, None


def _exact(x: Tensor, weight: Tensor) -> Tensor:
    """Return values in the precision of the weights: sums of bfloat16 would lose theirs."""
    return x.to(weight.dtype)


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _columns(of_channels: Tensor, x: Tensor) -> Tensor:
    return of_channels.view(1, -1, *(1,) * (x.dim() - 2))

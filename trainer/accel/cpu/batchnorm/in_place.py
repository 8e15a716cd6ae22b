"""Batch norm of each group of rows by torch's own kernel, written straight to its place."""

from typing import Protocol

import torch
from torch import Tensor

from trainer.accel.batch_norm import GroupedBatchNorm, contiguous_like
from trainer.util.autograd import Context


def grouped_batch_norm(x: Tensor, norm: GroupedBatchNorm) -> Tensor:
    """Normalize each group of rows of `x` [N, C, H, W] on a CPU; running statistics move."""
    means, variances = norm.repeated_statistics()
    settings = (norm.momentum, norm.eps)
    normed: Tensor = _Normed.apply(x, norm.weight, norm.bias, (means, variances), settings)
    norm.take_mean_of(means, variances)
    return normed


class _Context(Context, Protocol):
    eps: float


class _Normed(torch.autograd.Function):
    """Batch norm of each group, written directly to its slice of the output."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        settings: tuple[float, float],
    ) -> Tensor:
        """Return the normalized groups. `running` statistics [groups, C] are updated.

        `settings` are momentum and eps.
        """
        momentum, ctx.eps = settings
        means, inverses = (torch.empty_like(running[0]) for _ in range(2))
        normed = torch.empty_like(x)
        for part, target, old_mean, old_var, mean, inverse in zip(
            *_groups(x, normed, groups=len(means)), *running, means, inverses, strict=True
        ):
            moved = (part, weight, bias, old_mean, old_var, True, momentum, ctx.eps)
            torch.native_batch_norm(*moved, out=(target, mean, inverse))
        ctx.save_for_backward(x, weight, means, inverses)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight, means, inverses = ctx.saved_tensors
        grad = contiguous_like(grad, x)
        of_x, of_both = torch.empty_like(x), []
        for part_grad, part, target, mean, inverse in zip(
            *_groups(grad, x, of_x, groups=len(means)), means, inverses, strict=True
        ):
            gradients = torch.ops.aten.native_batch_norm_backward(
                part_grad, part, weight, None, None, mean, inverse, True, ctx.eps, [True] * 3
            )
            target.copy_(gradients[0])  # still in the core's cache
            of_both += gradients[1:]
        of_weight, of_bias = (torch.stack(of_both[start::2]).sum(0) for start in (0, 1))
        return of_x, of_weight, of_bias, None, None


def _groups(*tensors: Tensor, groups: int) -> list[tuple[Tensor, ...]]:
    return [tensor.chunk(groups) for tensor in tensors]

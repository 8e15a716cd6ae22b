"""Split batch norm and what follows it, compiled: a third to half of the library's time.

The library reads and writes the pixels once more for each of normalising, adding, ReLU and the
joining of groups; on a CPU that traffic is most of the cost.
"""

import math
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from trainer.accel.batch_norm import GroupedBatchNorm, is_channels_last
from trainer.accel.cpu.thread_pool import ThreadPool
from trainer.util.autograd import Context

KERNELS = "trainer.accel.cpu.batchnorm.kernels"
"""Imported late, since it compiles."""
CHANNELS_OF = 32
"""Copy of `trainer.accel.cpu.simd.WIDTH`: importing that module would load the compiler."""


class Settings(NamedTuple):
    """Settings of one call."""

    pool: ThreadPool
    groups: int
    eps: float
    relu: bool
    in_place: bool
    """Write the result over `x`, which is in the cache and not needed again without a gradient."""

    @property
    def floor(self) -> float:
        """Minimum of the output."""
        return 0.0 if self.relu else -math.inf


class _Context(Context, Protocol):
    settings: Settings

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


def is_possible(x: Tensor) -> bool:
    """Return whether the kernels take it: bfloat16 on a CPU, channels_last, whole channel runs."""
    is_whole = x.shape[1] % CHANNELS_OF == 0
    is_bf16 = x.device.type == "cpu" and x.dtype == torch.bfloat16
    return is_bf16 and is_channels_last(x) and is_whole


def grouped_batch_norm(
    x: Tensor, norm: GroupedBatchNorm, *, added: Tensor | None, pool: ThreadPool
) -> Tensor:
    """Normalize each group of rows, add `added`, apply the ReLU; running statistics are updated.

    `x` as `is_possible` wants it. Without gradients `x` is written over.
    """
    settings = Settings(pool, norm.groups, norm.eps, norm.relu, not torch.is_grad_enabled())
    affine = torch.stack([norm.weight, norm.bias])
    normed, moments = cast(tuple[Tensor, Tensor], FusedBatchNorm.apply(x, affine, added, settings))
    pixels = x.numel() // x.shape[1] // norm.groups
    mean, _, variance = moments.mean(0)
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (pixels / (pixels - 1)), norm.momentum)
    return normed


class FusedBatchNorm(torch.autograd.Function):
    """Batch norm of each group; then what is added, then the ReLU."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        affine: Tensor,
        added: Tensor | None,
        settings: Settings,
    ) -> tuple[Tensor, Tensor]:
        """Return the result and the moments [groups, 3, C]: mean, 1 / std, biased variance.

        `x` and `added` are bfloat16 [N, C, H, W], `affine` float32 [2, C]: weight and bias.
        """
        added = None if added is None else _alike(added)
        normalise: Any = import_module(KERNELS).normalise
        normed = x if settings.in_place else torch.empty_like(x)
        moments = torch.empty((settings.groups, 3, x.shape[1]))
        parts, results = _groups(x, settings), _groups(normed, settings)
        others = _groups(added, settings)
        weights, moment_arrays = affine.numpy(), moments.numpy()

        def part(index: int) -> None:
            normalise(
                parts[index],
                others[index],
                weights,
                settings.eps,
                settings.floor,
                results[index],
                moment_arrays[index],
            )

        settings.pool.map_range(part, settings.groups)
        ctx.save_for_backward(x, affine, moments, *([] if added is None else [added]))
        ctx.settings = settings
        ctx.mark_non_differentiable(moments)
        return normed, moments

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of `x`, `affine` and `added`."""
        x, affine, moments, *kept = ctx.saved_tensors
        settings, added = ctx.settings, kept[0] if kept else None
        gradient: Any = import_module(KERNELS).gradient
        of_x = torch.empty_like(x)
        of_added = None if added is None else torch.empty_like(added)
        of_affine = torch.empty((settings.groups, *affine.shape))
        arrays = [_groups(each, settings) for each in (_alike(grad), x, added, of_x, of_added)]
        weights, moment_arrays, sums = affine.numpy(), moments.numpy(), of_affine.numpy()

        def part(index: int) -> None:
            grads, pixels, others, results, other_results = (array[index] for array in arrays)
            gradient(
                grads,
                pixels,
                others,
                weights,
                moment_arrays[index],
                settings.floor,
                results,
                other_results,
                sums[index],
            )

        settings.pool.map_range(part, settings.groups)
        return of_x, of_affine.sum(0), of_added, None


def _alike(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16, memory_format=torch.channels_last)


def _groups(x: Tensor | None, settings: Settings) -> Any:  # noqa: ANN401  # an array or Nones
    """Return [N, C, H, W] as the bits of [groups, P, C]."""
    if x is None:
        return [None] * settings.groups
    pixels = x.detach().permute(0, 2, 3, 1).view(settings.groups, -1, x.shape[1])
    return pixels.view(torch.uint16).numpy()

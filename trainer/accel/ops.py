"""The one door to fast code: operations with torch's meaning, each of which falls back to torch.

Nothing else in `trainer` imports `trainer.accel.cpu` or the kernels of `trainer.accel.cuda`;
callables are captured as CUDA graphs through `trainer.accel.graphs`. Which form an operation takes
depends on the spec, shapes, device and settings of the process alone, so every attempt of a job
takes the same one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.accel.batch_norm import GroupedBatchNorm, add_relu_
from trainer.accel.cpu.augment import threaded
from trainer.accel.cpu.batchnorm import fused, in_place
from trainer.accel.cpu.conv import use_matmul_convs
from trainer.accel.cpu.thread_pool import ThreadPool
from trainer.accel.cuda.kernels import fused_batch_norm, fused_views
from trainer.accel.cuda.kernels.availability import (
    fused_kernels_problem,
    fused_kernels_version,
)
from trainer.accel.view_layout import ViewForm

__all__ = [
    "Accelerator",
    "GroupedBatchNorm",
    "ViewForm",
    "add_relu_",
    "augment",
    "fused_kernels_problem",
    "fused_kernels_version",
    "grouped_batch_norm",
    "use_matmul_convs",
]


class Accelerator:
    """Permission to use compiled code, and the threads that share its work on a CPU.

    Copies share the threads. On a GPU it is given where `fused_kernels_problem` has found none.
    """

    def __init__(self, threads: int = 1, *, view_dtype: torch.dtype = torch.float32) -> None:
        """`threads` >= 1. None is started before there is work for it.

        `view_dtype`: of random views on a GPU; those on a CPU are float32.
        """
        self.pool = ThreadPool(threads)
        self.view_dtype = view_dtype


def grouped_batch_norm(
    x: Tensor,
    norm: GroupedBatchNorm,
    *,
    added: Tensor | None = None,
    accelerator: Accelerator | None = None,
) -> Tensor:
    """Normalize each group of rows of `x` [N, C, H, W], then add `added`, then apply the ReLU.

    `norm.groups` divides N. Without gradients compiled code may write over `x`, as an in-place
    ReLU does. Source: Ioffe and Szegedy 2015, Algorithm 1 (arXiv:1502.03167).
    """
    if accelerator is not None and fused.is_possible(x):
        return fused.grouped_batch_norm(x, norm, added=added, pool=accelerator.pool)
    may_fuse = accelerator is not None and x.device.type == "cuda"
    if may_fuse and fused_batch_norm.is_possible(x, norm):
        return fused_batch_norm.grouped_batch_norm(x, norm, added=added)
    form = in_place.grouped_batch_norm if x.device.type == "cpu" else _chunked_batch_norm
    return add_relu_(form(x, norm), added, relu=norm.relu)


def _chunked_batch_norm(x: Tensor, norm: GroupedBatchNorm) -> Tensor:
    means, variances = norm.repeated_statistics()
    normed = [
        F.batch_norm(part, mean, var, norm.weight, norm.bias, True, norm.momentum, norm.eps)
        for part, mean, var in zip(x.chunk(norm.groups), means, variances, strict=True)
    ]
    norm.take_mean_of(means, variances)
    return torch.cat(normed)


def augment(
    images: Tensor,
    parameters: Sequence[Tensor],
    *,
    form: ViewForm,
    accelerator: Accelerator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return normalized views [B, 3, side, side] of `images` u8 [B, 3, H, W].

    `parameters` are boxes [B, 4], flips [B], orders and factors of the jitter [B, 4], flags [B, 3]
    (gray before it, gray after it, solarize) and sigmas of the blur in px [B]. On a GPU the result
    is channels_last and of a `dtype`. The form in torch is
    `trainer.modalities.image.augment.augment.ImageAugmenter`, which works on whole batches on any
    device.
    """
    if images.device.type == "cuda":
        return fused_views.augment(images, parameters, form=form, dtype=dtype)
    pixels, arrays = images.permute(0, 2, 3, 1).numpy(), [each.numpy() for each in parameters]
    return threaded.augment(pixels, arrays, form=form, pool=accelerator.pool)

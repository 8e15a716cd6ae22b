"""The one door to fast code: operations with torch's meaning, each of which falls back to torch.

Nothing else in `trainer` imports `trainer.accel.cpu`; callables are captured as CUDA graphs through
`trainer.accel.graphs`. Which form an operation takes depends on the spec, shapes and device alone,
so every attempt of a job takes the same one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.accel.batch_norm import GroupedBatchNorm, add_relu_
from trainer.accel.cpu.augment import threaded
from trainer.accel.cpu.augment.threaded import ViewForm
from trainer.accel.cpu.batchnorm import fused, in_place
from trainer.accel.cpu.conv import use_matmul_convs
from trainer.accel.cpu.thread_pool import ThreadPool

__all__ = [
    "Accelerator",
    "GroupedBatchNorm",
    "ViewForm",
    "add_relu_",
    "augment",
    "grouped_batch_norm",
    "use_matmul_convs",
]


class Accelerator:
    """Permission to use compiled code on a CPU, and the threads that share its work.

    Copies share the threads.
    """

    def __init__(self, threads: int) -> None:
        """`threads` >= 1. None is started before there is work for it."""
        self.pool = ThreadPool(threads)


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
    images: NDArray[np.uint8],
    parameters: Sequence[NDArray[np.generic]],
    *,
    form: ViewForm,
    accelerator: Accelerator,
) -> Tensor:
    """Return normalized views, float32 [B, 3, side, side], of `images` [B, H, W, 3] on a CPU.

    `parameters` are boxes [B, 4], flips [B], orders and factors of the jitter [B, 4], flags [B, 3]
    (gray before it, gray after it, solarize) and sigmas of the blur in px [B]. The form in torch is
    `trainer.modalities.image.augment.augment.ImageAugmenter`, which works on whole batches on any
    device.
    """
    return threaded.augment(images, parameters, form=form, pool=accelerator.pool)

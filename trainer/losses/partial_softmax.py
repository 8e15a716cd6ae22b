"""Partial softmax over some of the negatives."""

from typing import NamedTuple

from torch import Tensor


class PartialSoftmax(NamedTuple):
    """Partial softmax of queries over some of the negatives, or of several such parts."""

    log_sum: Tensor
    """[B] or [P, B]: logarithm of the sum of exp(logit)."""
    mean: Tensor
    """[B, D] or [P, B, D]: mean of the negatives, weighted by the softmax of the logits."""


def merge(shares: PartialSoftmax) -> PartialSoftmax:
    """Merge the partial softmax of P parts."""
    if len(shares.log_sum) == 1:
        return PartialSoftmax(shares.log_sum[0], shares.mean[0].to(shares.log_sum.dtype))
    top = shares.log_sum.amax(0)
    weights = (shares.log_sum - top).exp_()  # [P, B]
    total = weights.sum(0)
    mean = (shares.mean * weights[:, :, None]).sum(0).div_(total[:, None])
    return PartialSoftmax(total.log_().add_(top), mean)

"""Batch norm in groups of rows, so that one device behaves like many small ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of a group of rows, not of the whole batch.

    Statistics of the whole batch tell a query which batch its key came from: MoCo then finds the
    key without learning (He et al. 2020, section 3.3, "Shuffling BN"). Keys and buffers are those
    of nn.BatchNorm2d, so the weights load without this class; in eval mode it is the same.

    Groups are runs of neighbouring rows. The authors' reshape to [N/s, s C, H, W] is the same
    arithmetic with every s-th row, in one kernel, but only without copies in NCHW memory; a run
    of rows is a view in NCHW and NHWC alike, and bf16 trains in NHWC.
    """

    def __init__(self, num_features: int, *, splits: int) -> None:
        """`splits`: groups wanted, as the simulated number of devices."""
        super().__init__(num_features)
        self.splits = splits

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape. The running statistics move by the groups' mean."""
        groups = group_count(x.shape[0], splits=self.splits)
        if not self.training or groups == 1:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        means = self.running_mean.repeat(groups, 1)  # [groups, C]
        variances = self.running_var.repeat(groups, 1)
        settings = (self.weight, self.bias, True, self.momentum or 0.0, self.eps)
        normed = [
            F.batch_norm(part, mean, var, *settings)
            for part, mean, var in zip(x.chunk(groups), means, variances, strict=True)
        ]
        with torch.no_grad():
            self.running_mean.copy_(means.mean(0))
            self.running_var.copy_(variances.mean(0))
            self.num_batches_tracked.add_(1)
        return torch.cat(normed)


def group_count(rows: int, *, splits: int) -> int:
    """The most groups <= `splits` that divide `rows` evenly and leave two rows or more each."""
    fitting = [n for n in range(1, splits + 1) if rows % n == 0 and rows // n >= 2]
    return max(fitting, default=1)

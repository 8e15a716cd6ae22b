"""Batch norm in groups of rows, so that one device behaves like many small ones."""

from typing import Protocol

from torch import Tensor, nn

from trainer.accel import ops
from trainer.accel.ops import Accelerator


class Norm(Protocol):
    """Factory for the batch norms of a network."""

    def __call__(self, num_features: int, *, relu: bool = False) -> nn.Module:
        """Return a norm of `num_features` channels; `relu`: a ReLU follows."""


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with statistics of groups of rows, not of the whole batch.

    Statistics of the whole batch leak which batch a key came from: MoCo then finds the key without
    learning (He et al. 2020, section 3.3, "Shuffling BN"). Keys and buffers are those of
    nn.BatchNorm2d, so the weights load without this class; in eval mode it is the same.

    Groups are runs of neighbouring rows. The authors' reshape to [N/s, s C, H, W] is the same
    arithmetic with every s-th row, in one kernel, but only without copies in NCHW memory; a run
    of rows is a view in NCHW and NHWC alike, and bf16 trains in NHWC.
    """

    def __init__(
        self,
        num_features: int,
        *,
        splits: int,
        relu: bool = False,
        accelerator: Accelerator | None = None,
    ) -> None:
        """`splits`: number of groups, as many as the devices that are simulated.

        `relu`: a ReLU follows. `accelerator`: train with compiled code where possible.
        """
        super().__init__(num_features)
        self.splits, self.relu, self.accelerator = splits, relu, accelerator

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Normalize [N, C, H, W], then add `added`, then apply the ReLU.

        With an accelerator and without gradients `x` may be written over, as by an in-place ReLU.
        The running statistics move by the groups' mean.
        """
        groups = group_count(x.shape[0], splits=self.splits)
        if not self.training or groups == 1:
            return ops.add_relu_(super().forward(x), added, relu=self.relu)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        assert self.running_mean is not None
        assert self.running_var is not None
        norm = ops.GroupedBatchNorm(
            weight=self.weight,
            bias=self.bias,
            running_mean=self.running_mean,
            running_var=self.running_var,
            groups=groups,
            momentum=self.momentum or 0.0,
            eps=self.eps,
            relu=self.relu,
        )
        return ops.grouped_batch_norm(x, norm, added=added, accelerator=self.accelerator)


class FusedAwayReLU(nn.ReLU):
    """Placeholder for a ReLU that is fused into the preceding norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the input: the norm before it has applied the ReLU."""
        return x


def group_count(rows: int, *, splits: int) -> int:
    """Return the most groups <= `splits` that divide `rows` evenly into two or more each."""
    fitting = [n for n in range(1, splits + 1) if rows % n == 0 and rows // n >= 2]
    return max(fitting, default=1)

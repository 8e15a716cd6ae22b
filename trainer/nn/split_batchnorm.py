"""Batch norm in groups of rows, so that one device behaves like many small ones."""

from typing import Protocol

from torch import Tensor, nn

from trainer.accel import ops
from trainer.accel.ops import Accelerator
from trainer.distributed.world import ALONE, World
from trainer.nn.synced_batchnorm import synced_batch_norm


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

    On several ranks they are runs of the global batch: each rank has whole groups of its own. One
    group is then the batch of all ranks.
    """

    world: World = ALONE

    def __init__(
        self,
        num_features: int,
        *,
        splits: int,
        relu: bool = False,
        affine: bool = True,
        accelerator: Accelerator | None = None,
    ) -> None:
        """`splits`: number of groups, as many as the devices that are simulated.

        `relu`: a ReLU follows. `affine`: learn a weight and a bias. `accelerator`: train with
        compiled code where possible.
        """
        super().__init__(num_features)
        if not affine:
            self._fix_scale()
        self.splits, self.relu, self.accelerator = splits, relu, accelerator

    def _fix_scale(self) -> None:
        """Replace weight and bias by constants 1 and 0, which are not in the state dict."""
        for name in ("weight", "bias"):
            constant = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, constant, persistent=False)

    @property
    def is_synced(self) -> bool:
        """True if its statistics are those of all ranks."""
        return self.splits < self.world.size

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Normalize [N, C, H, W], then add `added`, then apply the ReLU.

        With an accelerator and without gradients `x` may be written over, as by an in-place ReLU.
        The running statistics move by the groups' mean.
        """
        if not self.training:  # independent of the number of rows, which exports leave open
            return ops.add_relu_(super().forward(x), added, relu=self.relu)
        ranks = self.world.size
        groups = group_count(ranks * x.shape[0], splits=self.splits) // ranks
        if groups == 1:
            return ops.add_relu_(super().forward(x), added, relu=self.relu)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if groups == 0:  # one group, and several ranks
            return ops.add_relu_(synced_batch_norm(x, self, self.world), added, relu=self.relu)
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
        return self._grouped(x, norm, added)

    def _grouped(self, x: Tensor, norm: ops.GroupedBatchNorm, added: Tensor | None) -> Tensor:
        return ops.grouped_batch_norm(x, norm, added=added, accelerator=self.accelerator)


class SplitBatchNorm1d(SplitBatchNorm2d):
    """The same of [N, C], as in a projection head."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 2:
            raise ValueError(f"[N, C] is expected, not {list(input.shape)}")

    def _grouped(self, x: Tensor, norm: ops.GroupedBatchNorm, added: Tensor | None) -> Tensor:
        return super()._grouped(x[:, :, None, None], norm, added).flatten(1)


class FusedAwayReLU(nn.ReLU):
    """Placeholder for a ReLU that is fused into the preceding norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the input: the norm before it has applied the ReLU."""
        return x


def group_count(rows: int, *, splits: int) -> int:
    """Return the most groups <= `splits` that divide `rows` evenly into two or more each."""
    fitting = [n for n in range(1, splits + 1) if rows % n == 0 and rows // n >= 2]
    return max(fitting, default=1)

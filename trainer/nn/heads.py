"""Projection and prediction heads: fully connected layers with batch norm."""

from itertools import pairwise
from typing import NamedTuple

from torch import nn

from trainer.nn.split_batchnorm import SplitBatchNorm1d
from trainer.schema.choices import HeadBatchNorm


class HeadForm(NamedTuple):
    """Widths and layers of a head: by default those of SimCLR's (arXiv:2002.05709)."""

    hidden: int
    """Width of each layer but the last."""
    dim: int
    """Width of the last layer."""
    layers: int = 2
    batch_norm: HeadBatchNorm = "hidden"
    """Batch norm after no layer, after each hidden one, or after all."""
    splits: int = 1
    """Groups of rows that batch norm is computed in."""
    has_last_bias: bool = True
    """The last layer has a bias, unless a batch norm follows. A hidden layer has one likewise."""


def mlp_head(width: int, form: HeadForm) -> nn.Sequential:
    """Return a head from features [N, width] to [N, form.dim], a ReLU after each hidden layer.

    A batch norm after the last layer has no weight and no bias, as in arXiv:2104.02057.
    """
    widths = [width, *(form.hidden,) * (form.layers - 1), form.dim]
    modules: list[nn.Module] = []
    for layer, (before, after) in enumerate(pairwise(widths), 1):
        is_last = layer == form.layers
        is_normed = form.batch_norm == "all" or (form.batch_norm == "hidden" and not is_last)
        has_bias = not is_normed and (form.has_last_bias or not is_last)
        modules.append(nn.Linear(before, after, bias=has_bias))
        if is_normed:
            modules.append(SplitBatchNorm1d(after, splits=form.splits, affine=not is_last))
        if not is_last:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)

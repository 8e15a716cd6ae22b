"""The three terms of VICReg."""

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to a variance below its root."""


class VICRegTerms(NamedTuple):
    """Terms of the loss, each []."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_terms(*views: Tensor) -> VICRegTerms:
    """Return the terms of two views' projections, [B, D] each, not normalized, B > 1.

    Invariance: the mean of (z - z')^2 over rows and dimensions. Variance: the mean over dimensions
    of max(0, 1 - sqrt(var + 1e-4)). Covariance: the squares of the covariances of different
    dimensions, added up, over D. The last two are sums over both views, with B - 1. The paper's
    invariance is not divided by D, and the authors' code halves invariance and variance. Of more
    views: the mean over their pairs.
    Sources: Bardes et al. 2022, Eq. 1 to 6 (arXiv:2105.04906); solo-learn's scale of the terms.
    """
    pairs = list(combinations(views, 2))
    distances = [(first - second).square().mean() for first, second in pairs]
    invariance = distances[0] if len(pairs) == 1 else torch.stack(distances).mean()
    variance = torch.stack([_variance(each) for each in views]).sum()
    covariance = torch.stack([_covariance(each) for each in views]).sum()
    if len(views) > 2:
        # Each view is in V - 1 of the V (V - 1) / 2 pairs.
        variance, covariance = 2.0 * variance / len(views), 2.0 * covariance / len(views)
    return VICRegTerms(invariance, variance, covariance)


def _variance(projections: Tensor) -> Tensor:
    std = (projections.var(0) + EPSILON).sqrt()
    return (1.0 - std).relu().mean()


def _covariance(projections: Tensor) -> Tensor:
    rows, dims = projections.shape
    centered = projections - projections.mean(0)
    matrix = centered.T @ centered / (rows - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / dims

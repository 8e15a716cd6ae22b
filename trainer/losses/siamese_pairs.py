"""The loss of alike and other pairs of embeddings."""

from typing import NamedTuple

import torch
from torch import Tensor

ROOT_EPS = 1e-12
"""Below the square root, whose gradient is infinite at 0."""


class Pairs(NamedTuple):
    """Pairs of a batch."""

    loss: Tensor
    """[] mean loss, with the graph."""
    right_ratio: Tensor
    """[] share of alike pairs nearer, and of other pairs farther, than half the margin."""


def drawn_other(identities: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each row of a batch one of another identity, int64 [B], and if there is any.

    Place i of the batch takes the (i mod n)-th of its n candidates, counted from its own place on.
    The order of rows in a batch is drawn by Philox, and so is the pair. A row without candidates
    gets itself.
    """
    rows = len(identities)
    place = torch.arange(rows, device=identities.device)
    around = (place[:, None] + place) % rows  # [i, s]: the row that is s places behind i
    differs = identities[around] != identities[:, None]
    count = differs.sum(1)
    wanted = place % count.clamp(min=1)
    # The first place at which as many candidates were passed as are wanted.
    passed = differs.cumsum(1) == (wanted + 1)[:, None]
    steps = passed.int().argmax(1)
    return around.gather(1, steps[:, None])[:, 0], count > 0


def pairs(
    first: Tensor, second: Tensor, *, other: Tensor, has_other: Tensor, margin: float
) -> Pairs:
    """Return the loss y d^2 + (1 - y) max(0, margin - d)^2 of 2B pairs of embeddings [B, D].

    Row i of `first` is alike row i of `second` (y = 1), and not row `other[i]` (y = 0), where it
    `has_other`. bfloat16 and float16 are widened to float32 first.
    Source: Hadsell et al. 2006, Eq. 4, without its factor of 1/2 and with y = 1 for alike pairs.
    """
    first, second = _exact(first), _exact(second)
    alike = (first - second).square().sum(1)
    apart = ((first - second[other]).square().sum(1) + ROOT_EPS).sqrt()
    hinge = (margin - apart).clamp(min=0.0).square().masked_fill(~has_other, 0.0)
    count = len(first) + has_other.sum()
    half = margin / 2
    right = (alike < half * half).sum() + ((apart >= half) & has_other).sum()
    return Pairs((alike.sum() + hinge.sum()) / count, right / count)


def _exact(embeddings: Tensor) -> Tensor:
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()

"""Losses of triplets of one batch, from its distances. None lists the N^3 triplets."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Mining = Literal["semi_hard", "batch_hard", "all"]
Masks = tuple[Tensor, Tensor]
"""Positives and negatives of each anchor among N embeddings, bool [N, N] each."""
ROOT_EPS = 1e-12
"""Below the square root, whose gradient is infinite at 0."""


class Triplets(NamedTuple):
    """Triplets of a batch."""

    loss: Tensor
    """[] mean loss, with the graph; 0 without triplets."""
    active_ratio: Tensor
    """[] share of the chosen triplets with a loss above 0: above the margin's end, if soft."""


def distances(embeddings: Tensor, *, squared: bool) -> Tensor:
    """Return the distances of unit vectors [N, D], float32 or float64 [N, N]."""
    exact = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    apart = (2.0 - 2.0 * (exact @ exact.T)).clamp(min=0.0)
    return apart if squared else (apart + ROOT_EPS).sqrt()


def triplets(
    apart: Tensor, masks: Masks, *, mining: Mining, margin: float, soft: bool = False
) -> Triplets:
    """Return the loss max(0, d_ap - d_an + margin) of the chosen triplets (anchor, a, p, n).

    `apart` [N, N] holds distances, anchors in rows. `semi_hard`: for each pair the nearest negative
    with d_an > d_ap, else the farthest one; the mean over pairs. `batch_hard`: the farthest
    positive and the nearest negative of each anchor; the mean over anchors; `soft`: softplus in
    place of the margin. `all`: the mean over triplets with a loss. Anchors without a positive or
    without a negative are left out.
    Sources: Schroff et al. 2015, Eq. 1 to 3 (arXiv:1503.03832), with TensorFlow's fallback;
    Hermans et al. 2017, Eq. 5 (arXiv:1703.07737).
    """
    if mining == "all":
        return _all(apart, masks, margin)
    far, near, is_chosen = (_semi_hard if mining == "semi_hard" else _batch_hard)(apart, masks)
    gap = far - near
    losses = F.softplus(gap) if soft else (gap + margin).clamp(min=0.0)
    count = is_chosen.sum().clamp(min=1)
    is_active = (gap + margin > 0) & is_chosen
    return Triplets(losses.masked_fill(~is_chosen, 0.0).sum() / count, is_active.sum() / count)


def _batch_hard(apart: Tensor, masks: Masks) -> tuple[Tensor, Tensor, Tensor]:
    """Return d_ap and d_an of each anchor's hardest triplet [N], and which anchors have one."""
    is_positive, is_negative = masks
    far = apart.masked_fill(~is_positive, 0.0).amax(1)
    near = apart.masked_fill(~is_negative, torch.inf).amin(1)
    is_chosen = is_positive.any(1) & is_negative.any(1)
    return far, near.masked_fill(~is_chosen, 0.0), is_chosen


def _semi_hard(apart: Tensor, masks: Masks) -> tuple[Tensor, Tensor, Tensor]:
    """Return d_ap and d_an of each pair (a, p), [N, N], and which pairs have a negative."""
    is_positive, is_negative = masks
    still = apart.detach().masked_fill(~is_negative, torch.inf)
    by_distance, order = still.sort(1)
    # The first negative that is farther than p, or the last negative.
    first = torch.searchsorted(by_distance, apart.detach().contiguous(), right=True)
    last = is_negative.sum(1, keepdim=True) - 1
    chosen = order.gather(1, torch.minimum(first, last).clamp(min=0))
    return apart, apart.gather(1, chosen), is_positive & (last >= 0)


def _all(apart: Tensor, masks: Masks, margin: float) -> Triplets:
    """Return the mean over triplets with a loss.

    Their sum is that of d_ap times the negatives within its reach, minus that of d_an times the
    positives that reach it, plus the margin for each: sorting counts them.
    """
    is_positive, is_negative = masks
    reach = (apart.detach() + margin).masked_fill(~is_positive, -torch.inf)
    nearer = apart.detach().masked_fill(~is_negative, torch.inf)
    of_positive = torch.searchsorted(nearer.sort(1).values, reach)
    of_negative = len(apart) - torch.searchsorted(reach.sort(1).values, nearer, right=True)
    active = of_positive.sum()
    total = (apart * (of_positive - of_negative)).sum() + margin * active
    triplets = (is_positive.sum(1) * is_negative.sum(1)).sum()
    return Triplets(total / active.clamp(min=1), active / triplets.clamp(min=1))

"""NT-Xent, the loss of SimCLR, and its decoupled form."""

import torch
from torch import Tensor

MASKED_LOGIT = -1e30
"""Finite, so that a row without negatives has a gradient of 0 and not NaN."""


def nt_xent(
    embeddings: Tensor,
    *,
    temperature: float,
    decoupled: bool = False,
    identities: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy of finding each row's pair among the batch, the mean in nats.

    `embeddings` [2B, D] are unit vectors; rows i and i + B are a positive pair, every other row is
    a negative, unless it has the same of `identities` [B]. `temperature` > 0. `decoupled` leaves
    the positive out of the denominator; a row that then has no negatives has a loss of 0. bfloat16
    and float16 are widened to float32 first. Keeps a [2B, 2B] matrix of logits for the gradient.
    Sources: Chen et al. 2020, Eq. 1 (arXiv:2002.05709); Yeh et al. 2021, Eq. 6 (arXiv:2110.06848).
    """
    exact = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    rows = len(exact)
    positive = (exact * exact.roll(rows // 2, 0)).sum(1) / temperature  # [2B]
    pair = torch.eye(rows, dtype=torch.bool, device=exact.device).roll(rows // 2, 1)
    own = torch.arange(rows // 2, device=exact.device) if identities is None else identities
    is_same = own.repeat(2)[:, None] == own.repeat(2)  # [2B, 2B]: the row itself and its pair too
    masked = is_same if decoupled else is_same & ~pair
    logits = (exact @ exact.T / temperature).masked_fill(masked, MASKED_LOGIT)
    terms = logits.logsumexp(1) - positive
    return terms.masked_fill(masked.all(1), 0.0).mean()

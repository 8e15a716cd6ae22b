"""InfoNCE: find each query's own key among shared negatives."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_KEYS = 65_536
"""Above so many negatives their logits are made chunk by chunk, and again for the gradient."""
HIDDEN_LOGIT = -1e30
"""Finite, so that a query that sees no negative at all has a gradient of 0 and not NaN."""


class Hidden(NamedTuple):
    """Negatives that a query must not see, as row ids: a [B, K] mask never exists as a whole."""

    query_rows: Tensor | None
    """int64 [B]. None: a row's own older keys are visible."""
    negative_rows: Tensor
    """int64 [K]."""
    empty: int
    """The id in `negative_rows` that nobody sees."""

    def mask(self, start: int, stop: int) -> Tensor:
        """Bool [B or 1, stop - start]: True where the negative is hidden."""
        rows = self.negative_rows[start:stop]
        mask = (rows == self.empty)[None, :]
        if self.query_rows is None:
            return mask
        return mask | (rows[None, :] == self.query_rows[:, None])


def info_nce(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    hidden: Hidden | None = None,
) -> Tensor:
    """Cross-entropy of finding each query's own key among shared negatives, the mean in nats.

    `query`, `key` [B, D] and `negatives` [K, D] are unit vectors, `temperature` > 0. Between 0
    and ln(1 + K exp(2 / T)); ln(1 + K) if all similarities are equal; 0 if all are hidden.
    Source: He et al. 2020, Eq. 1 (arXiv:1911.05722).
    """
    positive = (query * key).sum(1) / temperature  # [B]
    pieces = []
    for start in range(0, negatives.shape[0], CHUNK_KEYS):
        stop = min(start + CHUNK_KEYS, negatives.shape[0])
        chunk = (query, negatives[start:stop], hidden, start, temperature)
        if negatives.shape[0] <= CHUNK_KEYS:
            pieces.append(_log_sum(*chunk))
        else:
            recomputed = checkpoint(_log_sum, *chunk, use_reentrant=False, preserve_rng_state=False)
            pieces.append(recomputed)
    rest = torch.stack(pieces).logsumexp(0) if len(pieces) > 1 else pieces[0]  # [B]
    return (torch.logaddexp(positive, rest) - positive).mean()


def _log_sum(
    query: Tensor, negatives: Tensor, hidden: Hidden | None, start: int, temperature: float
) -> Tensor:
    """Logarithm of the sum over negatives of exp(similarity / T), those from `start` on. [B]."""
    logits = query @ negatives.T / temperature
    if hidden is not None:
        mask = hidden.mask(start, start + negatives.shape[0])
        logits = logits.masked_fill(mask, HIDDEN_LOGIT)
    return logits.logsumexp(1)

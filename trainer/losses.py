"""InfoNCE: find each query's own key among shared negatives."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.autograd import Context

CHUNK_KEYS = 4096
"""So many negatives are looked at together: the logits of a batch of 128 stay in a core's cache."""
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
    rest: Tensor = _LogSum.apply(query, negatives, hidden, temperature)  # [B]
    return (torch.logaddexp(positive, rest) - positive).mean()


class _LogSum(torch.autograd.Function):
    """Logarithm of the sum over negatives of exp(similarity / T), and its gradient, in one pass.

    The gradient of a query is the mean of the negatives, weighted by the softmax, over T: [B, D]
    is all that is kept, and no logit is made twice. The running maximum is that of online softmax
    (Milakov and Gimelshein, arXiv:1805.02867). The negatives get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Context, query: Tensor, negatives: Tensor, hidden: Hidden | None, temperature: float
    ) -> Tensor:
        """[B]."""
        scaled = query / temperature
        top = scaled.new_full((len(query),), HIDDEN_LOGIT)
        total, mean = torch.zeros_like(top), torch.zeros_like(query)
        for start in range(0, negatives.shape[0], CHUNK_KEYS):
            some = negatives[start : start + CHUNK_KEYS]
            weights = scaled @ some.T
            if hidden is not None:
                weights.masked_fill_(hidden.mask(start, start + len(some)), HIDDEN_LOGIT)
            higher = torch.maximum(top, weights.amax(1))
            shrunk = torch.exp(top - higher)
            weights.sub_(higher[:, None]).exp_()
            total.mul_(shrunk).add_(weights.sum(1))
            mean.mul_(shrunk[:, None]).addmm_(weights, some)
            top = higher
        ctx.save_for_backward(mean.div_(total[:, None] * temperature))
        return top + total.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of the query."""
        (mean,) = ctx.saved_tensors
        return grad[:, None] * mean, None, None, None

"""InfoNCE: find each query's own key among shared negatives."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.losses.chunked_softmax import HIDDEN_LOGIT, softmax_over
from trainer.nn.negative_mask import NegativeMask
from trainer.util.autograd import Context


def info_nce(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    mask: NegativeMask | None = None,
) -> Tensor:
    """Return the cross-entropy of finding each query's own key among negatives, the mean in nats.

    `query`, `key` [B, D] and `negatives` [K, D] are unit vectors, `temperature` > 0. Between 0
    and ln(1 + K exp(2 / T)); ln(1 + K) if all similarities are equal; 0 if all are masked.
    `negatives` may be bfloat16: products with them are then bfloat16, as under autocast.
    Source: He et al. 2020, Eq. 1 (arXiv:1911.05722).
    """
    positive = (query * key).sum(1) / temperature  # [B]
    rest: Tensor = _LogSumExp.apply(query, negatives, mask, temperature)  # [B]
    return (torch.logaddexp(positive, rest) - positive).mean()


class Negatives(NamedTuple):
    """Keys of earlier batches."""

    keys: Tensor
    """[K, D] unit vectors."""
    mask: NegativeMask | None


def info_nce_in_batch(
    query: Tensor,
    key: Tensor,
    identities: Tensor,
    *,
    temperature: float,
    besides: Negatives | None = None,
) -> Tensor:
    """Return the cross-entropy of finding each query's own key among those of the batch, in nats.

    `query` and `key` [B, D] are unit vectors, `identities` int64 [B]: keys of an equal identity are
    no negatives. `besides` are more of them. Keys get no gradient of their own here; ln(B + K) if
    all similarities are equal. Source: Chen et al. 2021, Algorithm 1 (arXiv:2104.02057).
    """
    logits = query @ key.T / temperature  # [B, B]
    positive = logits.diagonal()
    is_same = identities[:, None] == identities
    rest = logits.masked_fill(is_same, HIDDEN_LOGIT).logsumexp(1)
    if besides is not None:
        older: Tensor = _LogSumExp.apply(query, besides.keys, besides.mask, temperature)
        rest = torch.logaddexp(rest, older)
    return (torch.logaddexp(positive, rest) - positive).mean()


class _LogSumExp(torch.autograd.Function):
    """Logarithm of the sum over negatives of exp(similarity / T), and its gradient, in one pass.

    The gradient of a query is the mean of the negatives, weighted by the softmax, over T: [B, D]
    is all that is kept, and no logit is made twice. The negatives get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Context,
        query: Tensor,
        negatives: Tensor,
        mask: NegativeMask | None,
        temperature: float,
    ) -> Tensor:
        """Return the logarithms, [B]."""
        partial = softmax_over(query / temperature, negatives, mask)
        ctx.save_for_backward(partial.mean / temperature)
        return partial.log_sum

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the query."""
        (mean,) = ctx.saved_tensors
        return grad[:, None] * mean, None, None, None

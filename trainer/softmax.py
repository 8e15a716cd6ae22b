"""Softmax of queries over many negatives, some at a time: no matrix of all logits ever exists."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.hidden import Hidden

CHUNK_KEYS = 8192
"""So many negatives are looked at together: few calls, and the logits of a batch of 128 stay in
the caches of two cores."""
FEW = 16
"""Negatives hidden from some queries are looked at by themselves where no more than one in so many
is."""
HIDDEN_LOGIT = -1e30
"""Finite, so that a query that sees no negative at all has a gradient of 0 and not NaN."""


class Share(NamedTuple):
    """What queries find among some of the negatives."""

    log_sum: Tensor
    """[B]: logarithm of the sum of exp(logit)."""
    mean: Tensor
    """[B, D]: mean of the negatives, weighted by the softmax of the logits."""


def softmax_over(queries: Tensor, negatives: Tensor, hidden: Hidden | None) -> Share:
    """What `queries` over T, [B, D], find among `negatives` [K, D].

    Of negatives in bfloat16, which only a CPU takes, the products and the mean of each chunk are
    rounded to it; logits and their sums stay in fp32.
    """
    way = _attended if negatives.dtype == torch.bfloat16 else _exact
    pieces = _pieces(negatives, hidden)
    return joined([way(queries, some, mask) for some, mask in pieces if len(some)])


def joined(shares: Sequence[Share]) -> Share:
    """What is found among all negatives of some shares."""
    if len(shares) == 1:
        return shares[0]
    log_sums = torch.stack([share.log_sum for share in shares])  # [C, B]
    log_sum = log_sums.logsumexp(0)
    weights = torch.exp(log_sums - log_sum)
    mean = torch.zeros_like(shares[0].mean)
    for weight, share in zip(weights, shares, strict=True):
        mean.addcmul_(weight[:, None], share.mean)
    return Share(log_sum, mean)


def _pieces(negatives: Tensor, hidden: Hidden | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Chunks of negatives, each with the mask of what is hidden in it if anything is."""
    count = len(negatives)
    slices = [slice(start, start + CHUNK_KEYS) for start in range(0, count, CHUNK_KEYS)]
    if hidden is None:
        yield from ((negatives[some], None) for some in slices)
        return
    places = _few(hidden, count)
    if places is None:
        yield from ((negatives[some], hidden.mask(some)) for some in slices)
        return
    seen = torch.ones(count, dtype=torch.bool)
    seen[places] = False
    kept = seen.nonzero()[:, 0]
    # Of one size, so that each chunk finds room where the one before it was.
    yield from ((negatives.index_select(0, kept[some]), None) for some in slices)
    for some in slices:
        yield negatives[places[some]], hidden.mask(places[some])


def _few(hidden: Hidden, count: int) -> Tensor | None:
    """Where negatives are hidden, int64 [N]; None where masks for all cost less.

    That is when all are looked at together, when many are hidden, and on a GPU, where the host
    would wait.
    """
    if hidden.negative_rows.device.type != "cpu" or count <= CHUNK_KEYS:
        return None
    places = hidden.places()
    return None if len(places) * FEW > count else places


def _exact(queries: Tensor, negatives: Tensor, mask: Tensor | None) -> Share:
    logits = queries @ negatives.T
    if mask is not None:
        logits.masked_fill_(mask, HIDDEN_LOGIT)
    top = logits.amax(1, keepdim=True)
    weights = logits.sub_(top).exp_()
    total = weights.sum(1, keepdim=True)
    return Share((top + total.log())[:, 0], (weights @ negatives).div_(total))


def _attended(queries: Tensor, negatives: Tensor, mask: Tensor | None) -> Share:
    """Attention with negatives for keys and for values: logits never leave a core's cache.

    The library's own function for it is not public, since the public one keeps the sum to itself.
    """
    asked, told = queries.bfloat16()[None, None], negatives[None, None]
    added = None
    if mask is not None:
        added = queries.new_zeros(len(queries), len(negatives)).masked_fill_(mask, HIDDEN_LOGIT)
        added = added[None, None]
    attend: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    mean, log_sum = attend(asked, told, told, attn_mask=added, scale=1.0)
    return Share(log_sum[0, 0], mean[0, 0].to(queries.dtype))

"""Softmax of queries over many negatives, some at a time: no matrix of all logits ever exists."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainer.hidden import Hidden
from trainer.softmax import compiled
from trainer.softmax.laid import Laid
from trainer.softmax.share import Share, joined

CHUNK_KEYS = 16384
"""So many negatives are looked at together: few calls, and 8 MiB of logits for a batch of 128
where logits are made."""
PARTS = 8
"""Attention looks at so many parts of a chunk by themselves, if it can be divided so: then a core
asks all queries of what it has just laid in order for the matrix unit."""
FEW = 16
"""Negatives hidden from some queries are looked at by themselves where no more than one in so many
is."""
HIDDEN_LOGIT = -1e30
"""Finite, so that a query that sees no negative at all has a gradient of 0 and not NaN."""


def softmax_over(queries: Tensor, negatives: Tensor | Laid, hidden: Hidden | None) -> Share:
    """What `queries` over T, [B, D], find among `negatives` [K, D].

    Of those in bfloat16, which only a CPU takes, the products and the mean of each chunk are
    rounded to it; logits and their sums stay in fp32.
    """
    if isinstance(negatives, Laid):
        compiled_way = negatives.across is not None
        found = compiled.seen(queries, negatives, hidden) if compiled_way else None
        if found is not None:
            return found
        negatives = negatives.keys
    way = _attended if negatives.dtype == torch.bfloat16 else _exact
    pieces = _pieces(negatives, hidden)
    shares = [way(queries, some, mask) for some, mask in pieces if len(some)]
    return joined(Share(*(torch.stack(each) for each in zip(*shares, strict=True))))


def _pieces(negatives: Tensor, hidden: Hidden | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Chunks of negatives, each with the mask [B or 1, S] of what is hidden in it, if anything."""
    count = len(negatives)
    slices = [slice(start, start + CHUNK_KEYS) for start in range(0, count, CHUNK_KEYS)]
    if hidden is None:
        yield from ((negatives[some], None) for some in slices)
        return
    places = _few(hidden, count)
    if places is None:
        yield from ((negatives[some], hidden.mask(some)) for some in slices)
        return
    # One line for all queries, since a matrix for each of them takes longer than the products.
    apart = torch.zeros(1, count, dtype=torch.bool)
    apart[0, places] = True
    yield from ((negatives[some], apart[:, some]) for some in slices)
    for some in slices:
        yield negatives[places[some]], hidden.mask(places[some])


def _few(hidden: Hidden, count: int) -> Tensor | None:
    """Where negatives are hidden, int64 [N]; None where masks for all cost less.

    That is when many are hidden, and on a GPU, where the host would wait.
    """
    if hidden.negative_rows.device.type != "cpu":
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
    parts = math.gcd(len(negatives), PARTS)
    told = negatives.view(1, parts, -1, negatives.shape[1])
    asked = queries.bfloat16().expand(1, parts, *queries.shape)
    added = None
    if mask is not None:  # [1, P, B or 1, S / P]
        added = queries.new_zeros(mask.shape).masked_fill_(mask, HIDDEN_LOGIT)
        added = added.view(len(mask), parts, -1).transpose(0, 1)[None]
    attend: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    mean, log_sum = attend(asked, told, told, attn_mask=added, scale=1.0)
    return joined(Share(log_sum[0], mean[0]))

"""Softmax of queries over many negatives, a chunk at a time, without a matrix of all logits."""

import torch
from torch import Tensor

from trainer.losses.partial_softmax import PartialSoftmax, merge
from trainer.nn.negative_mask import NegativeMask

CHUNK_KEYS = 16384
"""Negatives of one chunk: few calls, and 8 MiB of fp32 logits for a batch of 128."""
HIDDEN_LOGIT = -1e30
"""Logit of a masked negative: finite, so that a query without negatives has gradient 0, not NaN."""


def softmax_over(queries: Tensor, negatives: Tensor, mask: NegativeMask | None) -> PartialSoftmax:
    """Return the log-sum-exp and the softmax-weighted mean of `negatives` for each query.

    `queries` [B, D] are already divided by the temperature, `negatives` are [K, D]. In bfloat16
    negatives, both products are bfloat16 (as under autocast); sums over logits stay in fp32.
    """
    chunks = [slice(start, start + CHUNK_KEYS) for start in range(0, len(negatives), CHUNK_KEYS)]
    shares = [
        _chunk_softmax(queries, negatives[chunk], None if mask is None else mask.columns(chunk))
        for chunk in chunks
    ]
    return merge(PartialSoftmax(*(torch.stack(each) for each in zip(*shares, strict=True))))


def _chunk_softmax(queries: Tensor, negatives: Tensor, is_masked: Tensor | None) -> PartialSoftmax:
    logits = (queries.to(negatives.dtype) @ negatives.T).to(queries.dtype)  # [B, S]
    if is_masked is not None:
        logits.masked_fill_(is_masked, HIDDEN_LOGIT)
    top = logits.amax(1, keepdim=True)
    weights = logits.sub_(top).exp_()
    total = weights.sum(1, keepdim=True)
    mean = (weights.to(negatives.dtype) @ negatives).to(queries.dtype) / total
    return PartialSoftmax((top + total.log())[:, 0], mean)

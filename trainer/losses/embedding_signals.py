"""Signals of a step. Read every n steps only: each reading waits for the device."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainer.losses.chunked_softmax import CHUNK_KEYS
from trainer.nn.ema import norm
from trainer.nn.negative_mask import NegativeMask

SPECTRUM_ROWS = 2048
"""Maximum number of embeddings used for the effective rank."""
BELOW_ALL = -2.0
"""Similarity of a masked negative: below every cosine, so it never ranks above the key."""


@torch.no_grad()
def of_embeddings(
    queries: Tensor, keys: Tensor, negatives: Tensor, mask: NegativeMask | None = None
) -> dict[str, float]:
    """Return the signals that every contrastive method has, of unit vectors as in `contrast`."""
    return {
        **contrast(queries, keys, negatives, mask),
        "embedding_std_ratio": std_ratio(queries),
        "embedding_effective_rank": effective_rank(queries),
    }


def without_negatives(queries: Tensor, keys: Tensor) -> dict[str, float]:
    """Return the signals of a method without negatives, of unit vectors [Q, D] and their pairs.

    `negative_similarity` is that of different rows of the batch, which the loss does not see.
    """
    rows, total = len(queries), queries.sum(0)
    others = (total.square().sum() - queries.square().sum()) / max(1, rows * (rows - 1))
    return {
        "positive_similarity": float((queries * keys).sum(1).mean()),
        "negative_similarity": float(others),
        "embedding_std_ratio": std_ratio(queries),
        "embedding_effective_rank": effective_rank(queries),
    }


def contrast(
    queries: Tensor, keys: Tensor, negatives: Tensor, mask: NegativeMask | None = None
) -> dict[str, float]:
    """Return how well queries [Q, D] find their keys [Q, D] among negatives [K, D] they see."""
    positive = (queries * keys).sum(1)  # [Q]
    nearer = torch.zeros_like(positive, dtype=torch.int64)
    total, counts = torch.zeros_like(positive), torch.zeros_like(positive)
    for chunk, is_masked in _chunks(negatives, mask):
        similarity = queries @ chunk.T
        counts += len(chunk)
        if is_masked is not None:
            masked = is_masked.sum(1)
            similarity.masked_fill_(is_masked, BELOW_ALL)
            total -= masked * BELOW_ALL
            counts -= masked
        nearer += (similarity > positive[:, None]).sum(1)
        total += similarity.sum(1)
    return {
        "top1": float((nearer < 1).double().mean()),
        "top5": float((nearer < 5).double().mean()),
        "positive_similarity": float(positive.mean()),
        "negative_similarity": float(total.sum() / counts.sum().clamp(min=1)),
    }


def _chunks(negatives: Tensor, mask: NegativeMask | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield some negatives at a time, [S, D], and the mask of what is hidden among them."""
    for start in range(0, len(negatives), CHUNK_KEYS):
        chunk = slice(start, start + CHUNK_KEYS)
        yield negatives[chunk], None if mask is None else mask.columns(chunk)


def std_ratio(embeddings: Tensor) -> float:
    """Return the mean over dimensions of the std of unit vectors [B, d], times sqrt(d).

    1 where they spread over the sphere, 0 where all are equal.
    """
    if embeddings.shape[0] < 2:
        return 0.0
    return float(embeddings.std(0).mean() * math.sqrt(embeddings.shape[1]))


def effective_rank(embeddings: Tensor) -> float:
    """Return the exponential of the entropy of the singular values of [B, d], 1 to min(B, d).

    Source: RankMe, Eq. 1 (arXiv:2210.02885).
    """
    values = torch.linalg.svdvals(embeddings[:SPECTRUM_ROWS].double().cpu())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(torch.special.entr(share).sum()))


def gradient_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """Return the L2 norm of all gradients together."""
    return norm([value.grad for value in parameters if value.grad is not None])

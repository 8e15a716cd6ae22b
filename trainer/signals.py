"""What a step tells of itself. Read every n steps only: each reading waits for the device."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainer.method import Method, Negatives, Outcome
from trainer.momentum import norm
from trainer.softmax.softmax import CHUNK_KEYS

SPECTRUM_ROWS = 2048
"""At most so many embeddings give the effective rank."""
BELOW_ALL = -2.0
"""Below every cosine, so that a hidden negative is nearer to no query than its key is."""


@torch.no_grad()
def read_signals(method: Method, outcome: Outcome, *, queue_dataset_rows: int) -> dict[str, float]:
    """Signals of one outcome, before its `after_step`. `queue_dataset_rows` is N of K / N.

    `loss` is the mean InfoNCE of a query: the symmetric loss, a sum of two, is halved so that it
    can be held against `chance_loss`.
    """
    negatives = method.negatives_for(outcome.rows)
    queries = outcome.queries.detach()
    return {
        "loss": float(outcome.loss.detach()) / outcome.halves,
        "chance_loss": math.log1p(negatives.counted),
        **contrast(queries, outcome.keys, negatives),
        "embedding_std_ratio": std_ratio(queries),
        "embedding_effective_rank": effective_rank(queries),
        "negatives_fill_ratio": negatives.fill_ratio,
        "oldest_key_age_steps": float(negatives.oldest_age_steps),
        "queue_dataset_ratio": negatives.keys.shape[0] / queue_dataset_rows,
    }


def contrast(queries: Tensor, keys: Tensor, negatives: Negatives) -> dict[str, float]:
    """How well queries [Q, D] find their keys [Q, D] among the negatives that they see."""
    positive = (queries * keys).sum(1)  # [Q]
    nearer = torch.zeros_like(positive, dtype=torch.int64)
    total, seen = torch.zeros_like(positive), torch.zeros_like(positive)
    for keys_of_some, mask in _looked_at(negatives):
        similarity = queries @ keys_of_some.T
        seen += len(keys_of_some)
        if mask is not None:
            gone = mask.sum(1)
            similarity.masked_fill_(mask, BELOW_ALL)
            total -= gone * BELOW_ALL
            seen -= gone
        nearer += (similarity > positive[:, None]).sum(1)
        total += similarity.sum(1)
    return {
        "top1": float((nearer < 1).double().mean()),
        "top5": float((nearer < 5).double().mean()),
        "positive_similarity": float(positive.mean()),
        "negative_similarity": float(total.sum() / seen.sum().clamp(min=1)),
    }


def _looked_at(negatives: Negatives) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Some negatives at a time, [S, D], and the mask of what is hidden among them."""
    for start in range(0, len(negatives.keys), CHUNK_KEYS):
        some = slice(start, start + CHUNK_KEYS)
        yield negatives.keys[some], negatives.hidden.mask(some) if negatives.hidden else None


def std_ratio(embeddings: Tensor) -> float:
    """Mean over dimensions of the std of unit vectors [B, d], times sqrt(d).

    1 where they spread over the sphere, 0 where all are one.
    """
    if embeddings.shape[0] < 2:
        return 0.0
    return float(embeddings.std(0).mean() * math.sqrt(embeddings.shape[1]))


def effective_rank(embeddings: Tensor) -> float:
    """Exponential of the entropy of the singular values of [B, d]: between 1 and min(B, d).

    Source: RankMe, Eq. 1 (arXiv:2210.02885).
    """
    values = torch.linalg.svdvals(embeddings[:SPECTRUM_ROWS].double().cpu())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(torch.special.entr(share).sum()))


def gradient_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """L2 norm of all gradients together."""
    return norm([value.grad for value in parameters if value.grad is not None])

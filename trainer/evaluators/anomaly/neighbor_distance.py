"""Distance of rows to the nearest rows of a bank: the score of an anomaly."""

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.evaluators.cosine import similarity

SIMILARITY_CELLS = 16_000_000
"""Similarities held at once."""


def neighbor_distance(
    rows: Tensor,
    bank: Tensor,
    *,
    k: int,
    own: Tensor | None = None,
    stop_if_asked: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the mean of 1 - cosine over the k nearest rows of the bank, float64 [N] on the host.

    `rows` [N, D] and `bank` [M, D] are unit vectors. `own` int64 [N] has the position of each row
    in the bank, which is then left out for it. Raises what `stop_if_asked` raises.
    """
    k = min(k, len(bank) - (own is not None))
    size, scores = max(1, SIMILARITY_CELLS // len(bank)), []
    positions = torch.arange(len(bank), device=bank.device)
    for start in range(0, len(rows), size):
        stop_if_asked()
        part = slice(start, start + size)
        similarities = similarity(rows[part], bank)
        if own is not None:
            similarities.masked_fill_(own[part, None] == positions, -torch.inf)
        scores.append((1 - similarities.topk(k, dim=1).values).mean(1).cpu())
    return torch.cat(scores)

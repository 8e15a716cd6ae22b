"""Spherical k-means: clusters of unit vectors by cosine similarity."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.accel.transfer import send_together
from trainer.evaluators.cosine import similarity
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed

ITERATIONS = 100
"""Maximum number of iterations of one start."""


class Clusters(NamedTuple):
    """Result of one start."""

    labels: Tensor
    """int64 [N]: the cluster of each row, in [0, k)."""
    coherence: float
    """Mean similarity of the rows to the centers of their clusters."""


def spherical_kmeans(
    rows: Tensor, *, k: int, starts: int, seed: int, stop_if_asked: Callable[[], None]
) -> Clusters:
    """Return the most coherent clusters of several starts; of equal ones the first.

    `rows` are unit vectors float64 [N, D] with N >= k. A start takes k different rows as centers,
    keyed by the seed and its number. Raises what `stop_if_asked` raises, which is asked at each.
    Source: Dhillon & Modha, Machine Learning 42 (2001).
    """
    best: Clusters | None = None
    for number in range(starts):
        stop_if_asked()
        first = _first(len(rows), k, seed=seed, start=number, device=rows.device)
        clusters = _from(rows, rows[first])
        if best is None or clusters.coherence > best.coherence:
            best = clusters
    assert best is not None
    return best


def _first(total: int, k: int, *, seed: int, start: int, device: torch.device) -> Tensor:
    chosen = permuted_rows(
        torch.arange(k), total=total, seed=derived_seed(seed, "clustering"), epoch=start
    )
    (sent,) = send_together((chosen,), device)
    return sent


def _from(rows: Tensor, centers: Tensor) -> Clusters:
    """Return the clusters that centers [k, D] move to; one without rows keeps its center."""
    labels = similarity(rows, centers).argmax(1)
    numbers = torch.arange(len(centers), device=rows.device)
    for _ in range(ITERATIONS):
        members = (labels[:, None] == numbers).double()  # a product adds in a fixed order
        sums = members.T @ rows
        is_empty = (sums.norm(dim=1) == 0)[:, None]
        centers = torch.where(is_empty, centers, F.normalize(sums, dim=1))
        moved = similarity(rows, centers).argmax(1)
        if torch.equal(moved, labels):
            break
        labels = moved
    nearest = similarity(rows, centers).gather(1, labels[:, None])
    return Clusters(labels, float(nearest.mean()))

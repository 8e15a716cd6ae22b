"""Weighted nearest-neighbour classification: how good is the encoder, without training a thing."""

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.nn import functional as F

from trainer.evaluators.knn.spec import K_MAX, KnnSpec

VOTE_CELLS = 32_000_000
"""Similarities held at once."""


def knn_top1(
    bank: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    spec: KnnSpec,
    classes: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Fraction of test rows classified correctly by a weighted vote of k nearest bank rows.

    `bank` and `test` are features [N, D] (any length) and labels int64 [N] in [0, classes); a test
    label outside the range counts as wrong. None if `should_stop()` returned true. Source: the MoCo
    authors' CIFAR-10 notebook (weighted kNN of arXiv:1805.01978, section 3.4).
    """
    memory = F.normalize(bank[0], dim=1)
    right = 0
    for features, labels in _chunks(test, rows=max(1, VOTE_CELLS // memory.shape[0])):
        if should_stop():
            return None
        similarity = F.normalize(features, dim=1) @ memory.T  # [b, N]
        predicted = _vote(similarity, bank[1], spec=spec, classes=classes)
        right += int((predicted == labels).sum())
    return right / test[1].shape[0]


def _vote(similarity: Tensor, labels: Tensor, *, spec: KnnSpec, classes: int) -> Tensor:
    """The class with the most votes, int64 [b]; a neighbour's weighs exp(similarity / T)."""
    near, index = similarity.topk(min(spec.k or K_MAX, similarity.shape[1]), dim=1)
    votes = similarity.new_zeros(similarity.shape[0], classes)
    # Divided by the nearest one's: the same winner, and no overflow at a small T.
    weights = ((near - near[:, :1]) / spec.temperature).exp()
    return votes.scatter_add_(1, labels[index], weights).argmax(1)


def _chunks(pair: tuple[Tensor, Tensor], *, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    features, labels = pair
    for start in range(0, len(labels), rows):
        yield features[start : start + rows], labels[start : start + rows]

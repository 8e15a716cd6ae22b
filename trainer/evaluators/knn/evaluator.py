"""Weighted nearest-neighbor classification: it tells how good the encoder is without training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.evaluators.base import EvaluationData, Feature, FeatureBank, Measured, NotMeasured
from trainer.evaluators.knn.spec import ResolvedKnnSpec
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    labelled_split,
    too_few_labels,
)
from trainer.spec.resolved import ResolvedSpec

VOTE_CELLS = 32_000_000
"""Similarities held at once."""


@dataclass(frozen=True, slots=True)
class Knn:
    """The vote of a bank's rows on the class of test rows."""

    spec: ResolvedKnnSpec
    bank: LabelledRows
    test: LabelledRows
    classes: int

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds."""
        return self.spec.every_epochs

    @property
    def has_baselines(self) -> bool:
        """True if baselines are to be measured."""
        return self.spec.baselines

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the share of test rows that are classified correctly. Raises Stopped."""
        return Measured({"knn_top1": self._top1(bank, self.spec.feature)})

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the same of raw input and of the untrained method, and of a constant answer.

        The constant answer is the most frequent class of the bank. Raises Stopped.
        """
        most = torch.bincount(self.bank.labels, minlength=self.classes).argmax()
        return Measured(
            {
                "knn_top1_raw": self._top1(bank, "input"),
                "knn_top1_untrained": self._top1(bank, self.spec.feature),
                "knn_top1_majority": float((self.test.labels == most).double().mean()),
            }
        )

    def _top1(self, bank: FeatureBank, feature: Feature) -> float:
        return knn_top1(
            (self.bank.features(bank, feature), self.bank.labels),
            (self.test.features(bank, feature), self.test.labels),
            spec=self.spec,
            classes=self.classes,
            stop_if_asked=bank.stop_if_asked,
        )


def plan(spec: ResolvedSpec, own: ResolvedKnnSpec, data: EvaluationData) -> Knn | NotMeasured:
    """Choose the rows. Raises DataError if the test dataset has none of the dataset's labels."""
    parts = labelled_split(spec, data, bank_rows=own.bank_rows, test_rows=own.test_rows)
    if parts is None:
        return NotMeasured(
            f"{too_few_labels(data.source.pack)}; nearest neighbors need {LABELLED_ROWS_MIN}, "
            "some of them to train on, so nothing is classified."
        )
    bank, test = parts
    return Knn(own, bank, test, classes=len(data.source.pack.facts.labels))


def knn_top1(
    bank: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    spec: ResolvedKnnSpec,
    classes: int,
    stop_if_asked: Callable[[], None] = lambda: None,
) -> float:
    """Return the share of test rows whose class wins the vote of their k nearest rows of the bank.

    `bank` and `test` are features [N, D] (any length) and labels int64 [N] in [0, classes); a
    test label outside is never right. Raises what `stop_if_asked` raises.
    Source: the MoCo authors' CIFAR-10 notebook (weighted kNN of arXiv:1805.01978, section 3.4).
    """
    memory = F.normalize(bank[0], dim=1)
    right = 0
    for features, labels in _chunks(test, rows=max(1, VOTE_CELLS // memory.shape[0])):
        stop_if_asked()
        similarity = F.normalize(features, dim=1) @ memory.T  # [b, N]
        predicted = _vote(similarity, bank[1], spec=spec, classes=classes)
        right += int((predicted == labels).sum())
    return right / test[1].shape[0]


def _vote(similarity: Tensor, labels: Tensor, *, spec: ResolvedKnnSpec, classes: int) -> Tensor:
    """Return the class with the most votes, int64 [b]; a neighbor's weighs exp(similarity / T)."""
    near, index = similarity.topk(min(spec.k, similarity.shape[1]), dim=1)
    votes = similarity.new_zeros(similarity.shape[0], classes)
    # Divided by the nearest one's: the same winner, and no overflow at a small T.
    weights = ((near - near[:, :1]) / spec.temperature).exp()
    return votes.scatter_add_(1, labels[index], weights).argmax(1)


def _chunks(pair: tuple[Tensor, Tensor], *, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    features, labels = pair
    for start in range(0, len(labels), rows):
        yield features[start : start + rows], labels[start : start + rows]

"""Weighted nearest-neighbor classification: it tells how good the encoder is without training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.intervals import share
from trainer.evaluators.knn.spec import ResolvedKnnSpec
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    label_notes,
    labelled_split,
    too_few_labels,
)
from trainer.schema.evaluation import Figure
from trainer.spec.resolved import ResolvedSpec

VOTE_CELLS = 32_000_000
"""Similarities held at once."""


@dataclass(frozen=True)
class Knn(ComparedEvaluator[ResolvedKnnSpec]):
    """The vote of a bank's rows on the class of test rows."""

    bank: LabelledRows
    test: LabelledRows
    classes: int

    signals = frozenset({"knn_top1", "knn_top5"})
    headlines = frozenset({"knn_top1"})

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the share of test rows that are classified correctly. Raises Stopped."""
        ranks = knn_ranks(
            (self.bank.features(bank, subject.feature), self.bank.labels),
            (self.test.features(bank, subject.feature), self.test.labels),
            spec=self.spec,
            classes=self.classes,
            stop_if_asked=bank.stop_if_asked,
        ).cpu()
        # With five classes, one of the first five is always right.
        depths = (1, 5) if self.classes > 5 else (1,)
        return ComparedResult(
            tuple(
                figure
                for depth in depths
                for figure in share(
                    f"knn_top{depth}",
                    int((ranks < depth).sum()),
                    len(ranks),
                    features=subject.features,
                )
            )
        )

    def constant(self) -> tuple[Figure, ...]:
        """Return the accuracy of the most frequent class of the bank."""
        most = torch.bincount(self.bank.labels.cpu(), minlength=self.classes).argmax()
        right = int((self.test.labels.cpu() == most).sum())
        return share("knn_top1", right, len(self.test.labels), features="majority class")


def plan(spec: ResolvedSpec, own: ResolvedKnnSpec, data: EvaluationData) -> Knn | NotMeasured:
    """Choose the rows. Raises DataError if the test dataset has none of the dataset's labels."""
    parts = labelled_split(spec, data, bank_rows=own.bank_rows, test_rows=own.test_rows)
    if parts is None:
        return NotMeasured(
            f"{too_few_labels(data.source.pack)}; nearest neighbors need {LABELLED_ROWS_MIN}, "
            "some of them to train on, so nothing is classified."
        )
    bank, test = parts
    classes, notes = len(data.source.pack.facts.labels), label_notes(spec, data, test.rows)
    return Knn(own, bank, test, classes, notes=notes)


def knn_ranks(
    bank: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    spec: ResolvedKnnSpec,
    classes: int,
    stop_if_asked: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the rank of each test row's class in the vote of its k nearest rows of the bank.

    0 is the winner; of classes with equal votes the lower number comes first. `bank` and `test` are
    features [N, D] (any length) and labels int64 [N] in [0, classes); a test label outside has the
    last rank, `classes`. Returns int64 [N]. Raises what `stop_if_asked` raises.
    Source: the MoCo authors' CIFAR-10 notebook (weighted kNN of arXiv:1805.01978, section 3.4).
    """
    memory = F.normalize(bank[0], dim=1)
    ranks = []
    for features, labels in _chunks(test, rows=max(1, VOTE_CELLS // memory.shape[0])):
        stop_if_asked()
        similarity = F.normalize(features, dim=1) @ memory.T  # [b, N]
        ranks.append(_ranks(_votes(similarity, bank[1], spec=spec, classes=classes), labels))
    return torch.cat(ranks)


def _ranks(votes: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of a label, int64 [b], among classes by their votes [b, classes]."""
    own = votes.gather(1, labels.clamp(min=0)[:, None])
    is_lower = torch.arange(votes.shape[1], device=votes.device) < labels[:, None]
    before = (votes > own) | ((votes == own) & is_lower)
    return torch.where(labels < 0, votes.shape[1], before.sum(1))


def _votes(similarity: Tensor, labels: Tensor, *, spec: ResolvedKnnSpec, classes: int) -> Tensor:
    """Return the votes for each class, [b, classes]; a neighbor's weighs exp(similarity / T)."""
    near, index = similarity.topk(min(spec.k, similarity.shape[1]), dim=1)
    votes = similarity.new_zeros(similarity.shape[0], classes)
    # Divided by the nearest one's: the same winner, and no overflow at a small T.
    weights = ((near - near[:, :1]) / spec.temperature).exp()
    return votes.scatter_add_(1, labels[index], weights)


def _chunks(pair: tuple[Tensor, Tensor], *, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    features, labels = pair
    for start in range(0, len(labels), rows):
        yield features[start : start + rows], labels[start : start + rows]

"""Few-label score: accuracy of a regression that learns from a few labels of each class."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.binary import Scored, auroc
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.few_label.draws import log_probabilities
from trainer.evaluators.few_label.spec import SIGNALS, ResolvedFewLabelSpec
from trainer.evaluators.intervals import draws as over_draws
from trainer.evaluators.intervals import standard_error
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    Labelled,
    LabelledRows,
    label_notes,
    labelled_split,
    positive_class,
    too_few_labels,
)
from trainer.schema.evaluation import Features, Figure, Row
from trainer.spec.resolved import ResolvedSpec

Values = NDArray[np.float64]
"""One value a draw."""


class Scores(NamedTuple):
    """Scores of each draw for one number of labels."""

    per_class: int
    accuracy: Values
    auroc: Values | None
    """None without a positive label, or if test rows are of one side only."""


@dataclass(frozen=True)
class FewLabel(ComparedEvaluator[ResolvedFewLabelSpec]):
    """Draws of labels of the bank, and test rows."""

    bank: LabelledRows
    test: LabelledRows
    positive: int | None
    """Class to tell from all others."""
    seed: int
    sizes: tuple[int, ...]
    """Numbers of labels of each class that every class has, rising."""

    signals = frozenset(SIGNALS)
    baseline_tables = frozenset({"curve"})

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the figures and the curve of one subject. Raises Stopped."""
        features = subject.features
        data = self.bank.on_host(bank, subject.feature)
        tested = self.test.on_host(bank, subject.feature)
        scores = [self._scores(data, tested, size, bank) for size in self.sizes]
        figures: tuple[Figure, ...] = ()
        for each in scores:
            if each.per_class == self.spec.labels_per_class:
                figures += over_draws("few_label_accuracy", each.accuracy, features=features)
                if each.auroc is not None:
                    figures += over_draws("few_label_auroc", each.auroc, features=features)
        curve = [_row(each, features) for each in scores]
        return ComparedResult(figures, {"curve": curve})

    def _scores(
        self, data: Labelled, tested: Labelled, per_class: int, bank: FeatureBank
    ) -> Scores:
        truth = tested.labels.numpy()
        accuracies, areas = [], []
        answers = log_probabilities(
            data, tested.features, per_class=per_class, draws=self.spec.draws, seed=self.seed
        )
        for _, logs in answers:
            bank.stop_if_asked()
            values = logs.numpy()
            accuracies.append((values.argmax(1) == truth).mean())
            # A class that the bank lacks has no column.
            if self.positive is not None and self.positive < values.shape[1]:
                areas.append(
                    auroc(Scored(np.exp(values[:, self.positive]), truth == self.positive))
                )
        has_areas = bool(areas) and bool(np.isfinite(areas).all())
        return Scores(per_class, np.array(accuracies), np.array(areas) if has_areas else None)


def plan(
    spec: ResolvedSpec, own: ResolvedFewLabelSpec, data: EvaluationData
) -> FewLabel | NotMeasured:
    """Choose the rows. Raises DataError if the test dataset has none of the dataset's labels."""
    pack = data.source.pack
    parts = labelled_split(spec, data, bank_rows=own.bank_rows, test_rows=own.test_rows)
    if parts is None:
        return NotMeasured(
            f"{too_few_labels(pack)}; the few-label score needs {LABELLED_ROWS_MIN}, some of them "
            "to draw from, so none is measured."
        )
    bank, test = parts
    smallest = int(np.unique(bank.labels.cpu().numpy(), return_counts=True)[1].min())
    numbers = sorted({own.labels_per_class, *own.curve})
    sizes = tuple(size for size in numbers if size <= smallest)
    if not sizes:
        return NotMeasured(
            f"The smallest class has {smallest} images to draw labels from; few_label asks for "
            f"{numbers[0]}: lower `labels_per_class`."
        )
    positive = positive_class(pack, own.positive_label)
    notes = _size_notes(own, sizes, smallest=smallest) + label_notes(spec, data, test.rows)
    return FewLabel(own, bank, test, positive, spec.seed, sizes, notes=notes)


def _size_notes(
    own: ResolvedFewLabelSpec, sizes: tuple[int, ...], *, smallest: int
) -> tuple[str, ...]:
    """Return a sentence if the smallest class has too few images for a number of labels."""
    if max(own.labels_per_class, *own.curve, 0) <= smallest:
        return ()
    few = f"The smallest class has {smallest} images to draw from, so "
    if own.labels_per_class > smallest:
        return (
            f"{few}there is no figure for {own.labels_per_class}: lower `labels_per_class`. The "
            f"curve ends at {sizes[-1]}.",
        )
    return (f"{few}{sizes[-1]} is last.",)


def _row(scores: Scores, features: Features) -> Row:
    row: Row = {
        "labels_per_class": scores.per_class,
        "accuracy": float(scores.accuracy.mean()),
        "standard_error": standard_error(scores.accuracy),
    }
    if scores.auroc is not None:
        row["auroc"] = float(scores.auroc.mean())
        row["auroc_standard_error"] = standard_error(scores.auroc)
    return {**row, "draws": len(scores.accuracy), "features": features}

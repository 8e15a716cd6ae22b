"""The classifier that a job trains, asked for the class of held-out rows."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trainer.evaluators.base import EvaluationData, FeatureBank, Measured, NotMeasured
from trainer.evaluators.binary import (
    Scored,
    Threshold,
    binary_figures,
    chosen_threshold,
    roc_rows,
    threshold_row,
)
from trainer.evaluators.classification import (
    Answers,
    class_figures,
    confusion_rows,
    per_class_rows,
)
from trainer.evaluators.classifier.spec import PREFIX, SIGNALS, ResolvedClassifierSpec
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    label_notes,
    labelled_split,
    positive_class,
    too_few_labels,
    validation_rows,
)
from trainer.schema.evaluation import Features, Figure, Row
from trainer.spec.resolved import ResolvedSpec

FEATURES: Features = "trained encoder"


class Summary(NamedTuple):
    """Figures of the classifier, with its tables."""

    figures: tuple[Figure, ...]
    tables: dict[str, list[Row]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classifier:
    """The answers of the head for test rows; constant ones to compare with."""

    spec: ResolvedClassifierSpec
    bank: LabelledRows
    test: LabelledRows
    validation: LabelledRows | None
    """Labelled rows of the split val, that a threshold is chosen on; None without any."""
    labels: tuple[str, ...]
    positive: int | None
    """Class to tell from all others."""
    seed: int
    notes: tuple[str, ...] = ()

    has_baselines = True

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return self.spec.name

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds."""
        return self.spec.every_epochs

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the figures of the classifier as it is. Raises Stopped or DivergedError."""
        answers = _answers(self.test, bank)
        figures, tables, notes = self._summarized(answers, bank)
        signals = {each.name: each.value for each in figures if each.name in SIGNALS}
        return Measured(signals, figures, tables, notes=(*self.notes, *notes))

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the figures of answering with the share of each class in the bank."""
        del bank
        counts = self.bank.labels.cpu().bincount(minlength=len(self.labels)).double()
        shares = (counts / counts.sum()).expand(len(self.test.labels), -1)
        answers = Answers(shares.numpy(), self.test.labels.cpu().numpy())
        return Measured(
            {}, class_figures(PREFIX, answers, seed=self.seed, features="majority class")
        )

    def _summarized(self, answers: Answers, bank: FeatureBank) -> Summary:
        """Return figures, those of one class against all others included, and tables."""
        figures = class_figures(PREFIX, answers, seed=self.seed)
        tables = {
            "per_class": per_class_rows(answers, self.labels),
            "confusion": confusion_rows(answers, self.labels),
        }
        if self.positive is None:
            return Summary(figures, tables)
        test, threshold = _scored(answers, self.positive), self._threshold(bank, self.positive)
        of_label = binary_figures(test, threshold, seed=self.seed)
        figures += tuple(
            each.model_copy(update={"name": f"{PREFIX}_{each.name}"}) for each in of_label
        )
        label = self.labels[self.positive]
        tables["roc"] = roc_rows(test, features=FEATURES)
        tables["at_threshold"] = [threshold_row(test, threshold, label=label, features=FEATURES)]
        return Summary(figures, tables, (threshold.note,) if threshold.note else ())

    def _threshold(self, bank: FeatureBank, positive: int) -> Threshold:
        """Return the threshold of the rule, from the answers for validation rows alone."""
        if self.validation is None:
            return chosen_threshold(self.spec.threshold, Scored(np.empty(0), np.empty(0, np.bool_)))
        validation = _scored(_answers(self.validation, bank), positive)
        return chosen_threshold(self.spec.threshold, validation)


def plan(
    spec: ResolvedSpec, own: ResolvedClassifierSpec, data: EvaluationData
) -> Classifier | NotMeasured:
    """Choose the rows. Raises DataError if the test dataset has none of the dataset's labels."""
    pack = data.source.pack
    parts = labelled_split(spec, data, bank_rows=pack.rows, test_rows=own.test_rows)
    if parts is None:
        return NotMeasured(
            f"{too_few_labels(pack)}; with fewer than {LABELLED_ROWS_MIN} none are left to test "
            "the classifier with."
        )
    labels = pack.facts.labels
    positive = positive_class(pack, own.positive_label)
    if positive is None and len(labels) == 2:
        positive = 1
    return Classifier(
        own,
        *parts,
        None if isinstance(own.threshold, float) else validation_rows(spec, data),
        labels,
        positive,
        spec.seed,
        notes=label_notes(spec, data, parts[1].rows),
    )


def _answers(rows: LabelledRows, bank: FeatureBank) -> Answers:
    """Return the probabilities of the head. Raises Stopped or DivergedError."""
    logits = rows.on_host(bank, "projection")
    return Answers(logits.features.double().softmax(1).numpy(), logits.labels.numpy())


def _scored(answers: Answers, positive: int) -> Scored:
    return Scored(answers.probabilities[:, positive], answers.labels == positive)

"""The classifier that a job trains, asked for the class of held-out rows."""

from dataclasses import dataclass

import numpy as np

from trainer.evaluators.base import EvaluationData, FeatureBank, Measured, NotMeasured
from trainer.evaluators.binary import Scored, Threshold, chosen_threshold
from trainer.evaluators.class_results import Classes
from trainer.evaluators.classification import Answers
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
from trainer.spec.resolved import ResolvedSpec


@dataclass(frozen=True)
class Classifier:
    """The answers of the head for test rows; constant ones to compare with."""

    spec: ResolvedClassifierSpec
    bank: LabelledRows
    test: LabelledRows
    validation: LabelledRows | None
    """Labelled rows of the split val, that a threshold is chosen on; None without any."""
    classes: Classes
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
        result = self.classes.result(_answers(self.test, bank), self._threshold(bank))
        signals = {each.name: each.value for each in result.figures if each.name in SIGNALS}
        return Measured(signals, result.figures, result.tables, notes=(*self.notes, *result.notes))

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the figures of answering with the share of each class in the bank."""
        del bank
        return Measured({}, self.classes.of_shares(self.bank.labels, self.test.labels))

    def _threshold(self, bank: FeatureBank) -> Threshold | None:
        """Return the threshold of the rule, from the answers for validation rows alone."""
        if self.classes.positive is None:
            return None
        validation = Scored(np.empty(0), np.empty(0, np.bool_))
        if self.validation is not None:
            validation = self.classes.scored(_answers(self.validation, bank))
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
        Classes(PREFIX, labels, positive, spec.seed, binary_prefix=f"{PREFIX}_"),
        notes=label_notes(spec, data, parts[1].rows),
    )


def _answers(rows: LabelledRows, bank: FeatureBank) -> Answers:
    """Return the probabilities of the head. Raises Stopped or DivergedError."""
    logits = rows.on_host(bank, "projection")
    return Answers(logits.features.double().softmax(1).numpy(), logits.labels.numpy())

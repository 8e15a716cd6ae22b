"""Linear probe: what a linear classifier on the fixed encoder gets right."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from trainer.evaluators.base import EvaluationData, Feature, FeatureBank, Measured, NotMeasured
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
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    labelled_split,
    positive_class,
    shuffled_rows,
    too_few_labels,
)
from trainer.evaluators.linear.probe import Probe, ProbeFit
from trainer.evaluators.linear.spec import ResolvedLinearProbeSpec
from trainer.schema.evaluation import Features
from trainer.spec.resolved import ResolvedSpec


class Rows(NamedTuple):
    """Rows of a linear probe; numbers in `validation` are of places in the bank."""

    bank: LabelledRows
    test: LabelledRows
    validation: Tensor
    """int64: a keyed tenth of the bank, that C and a threshold are chosen on."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Logistic regression on features of the bank, asked for the class of test rows."""

    spec: ResolvedLinearProbeSpec
    rows: Rows
    labels: tuple[str, ...]
    positive: int | None
    """Class to tell from all others."""
    seed: int

    @property
    def name(self) -> str:
        """Its name in the spec."""
        return self.spec.name

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds."""
        return self.spec.every_epochs

    @property
    def has_baselines(self) -> bool:
        """True if baselines are to be measured."""
        return self.spec.baselines

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the figures and tables of the encoder. Raises Stopped."""
        measured = self._measured(bank, self.spec.feature, "trained encoder")
        signals = {figure.name: figure.value for figure in measured.figures}
        return measured._replace(signals=signals)

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the figures of raw input, of the untrained encoder and of a constant answer.

        The constant answer is the share of each class in the bank. Raises Stopped.
        """
        parts = (
            self._measured(bank, "input", "raw input"),
            self._measured(bank, self.spec.feature, "untrained encoder"),
            self._constant(),
        )
        return Measured(
            {},
            tuple(figure for part in parts for figure in part.figures),
            {
                name: [row for part in parts for row in part.tables.get(name, ())]
                for name in ("roc", "at_threshold")
                if self.positive is not None
            },
        )

    def _measured(self, bank: FeatureBank, feature: Feature, features: Features) -> Measured:
        probe = ProbeFit(self.spec, len(self.labels), self.seed)(
            self.rows.bank.on_host(bank, feature), validation=self.rows.validation, bank=bank
        )
        tested = self.rows.test.on_host(bank, feature)
        answers = Answers(probe.probabilities(tested.features), tested.labels.numpy())
        return self._told(answers, features, probe)

    def _told(self, answers: Answers, features: Features, probe: Probe) -> Measured:
        figures = class_figures("linear", answers, seed=self.seed, features=features)
        tables = {
            "per_class": per_class_rows(answers, self.labels),
            "confusion": confusion_rows(answers, self.labels),
        }
        if self.positive is None:
            return Measured({}, figures, tables, probe.notes)
        threshold = self.threshold(probe)
        test = _scored(answers, self.positive)
        figures += binary_figures(test, threshold, seed=self.seed, features=features)
        tables["roc"] = roc_rows(test, features=features)
        label = self.labels[self.positive]
        tables["at_threshold"] = [threshold_row(test, threshold, label=label, features=features)]
        notes = (*probe.notes, *([threshold.note] if threshold.note else []))
        return Measured({}, figures, tables, notes)

    def threshold(self, probe: Probe) -> Threshold:
        """Return the threshold of the rule, from the answers for validation rows alone."""
        assert self.positive is not None
        return chosen_threshold(self.spec.threshold, _scored(probe.validation, self.positive))

    def _constant(self) -> Measured:
        counts = self.rows.bank.labels.cpu().bincount(minlength=len(self.labels)).double()
        shares = (counts / counts.sum()).expand(len(self.rows.test.labels), -1)
        answers = Answers(shares.numpy(), self.rows.test.labels.cpu().numpy())
        return Measured(
            {}, class_figures("linear", answers, seed=self.seed, features="majority class")
        )


def plan(
    spec: ResolvedSpec, own: ResolvedLinearProbeSpec, data: EvaluationData
) -> Linear | NotMeasured:
    """Choose the rows. Raises DataError if the test dataset has none of the dataset's labels."""
    pack = data.source.pack
    parts = labelled_split(spec, data, bank_rows=own.bank_rows, test_rows=own.test_rows)
    if parts is None or len(parts[0].rows) < 2:
        return NotMeasured(
            f"{too_few_labels(pack)}; a linear probe needs {LABELLED_ROWS_MIN}, some of them to "
            "learn from, so none is fitted."
        )
    bank, test = parts
    order = shuffled_rows(len(bank.rows), seed=spec.seed, purpose="validation")
    validation = order[: max(1, len(order) // 10)].sort().values
    return Linear(
        own,
        Rows(bank, test, validation),
        pack.facts.labels,
        positive_class(pack, own.positive_label),
        spec.seed,
    )


def _scored(answers: Answers, positive: int) -> Scored:
    return Scored(answers.probabilities[:, positive], answers.labels == positive)

"""Linear probe: what a linear classifier on the fixed encoder gets right."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.binary import Threshold, chosen_threshold
from trainer.evaluators.class_results import Classes
from trainer.evaluators.classification import Answers
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    label_notes,
    labelled_split,
    positive_class,
    shuffled_rows,
    too_few_labels,
)
from trainer.evaluators.linear.probe import Probe, ProbeFit
from trainer.evaluators.linear.spec import SIGNALS, ResolvedLinearProbeSpec
from trainer.schema.evaluation import Figure
from trainer.spec.resolved import ResolvedSpec


class Rows(NamedTuple):
    """Rows of a linear probe; numbers in `validation` are of places in the bank."""

    bank: LabelledRows
    test: LabelledRows
    validation: Tensor
    """int64: a keyed tenth of the bank, that C and a threshold are chosen on."""


@dataclass(frozen=True)
class Linear(ComparedEvaluator[ResolvedLinearProbeSpec]):
    """Logistic regression on features of the bank, asked for the class of test rows."""

    rows: Rows
    classes: Classes

    signals = frozenset(SIGNALS)
    baseline_tables = frozenset({"roc", "at_threshold"})

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the figures and tables of one subject. Raises Stopped."""
        probe = ProbeFit(self.spec, len(self.classes.labels), self.classes.seed)(
            self.rows.bank.on_host(bank, subject.feature),
            validation=self.rows.validation,
            bank=bank,
        )
        tested = self.rows.test.on_host(bank, subject.feature)
        answers = Answers(probe.probabilities(tested.features), tested.labels.numpy())
        result = self.classes.result(answers, self.threshold(probe), features=subject.features)
        return result._replace(notes=(*probe.notes, *result.notes))

    def constant(self) -> tuple[Figure, ...]:
        """Return the figures of answering with the share of each class in the bank."""
        return self.classes.of_shares(self.rows.bank.labels, self.rows.test.labels)

    def threshold(self, probe: Probe) -> Threshold | None:
        """Return the threshold of the rule, from the answers for validation rows alone."""
        if self.classes.positive is None:
            return None
        return chosen_threshold(self.spec.threshold, self.classes.scored(probe.validation))


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
        Classes("linear", pack.facts.labels, positive_class(pack, own.positive_label), spec.seed),
        notes=label_notes(spec, data, test.rows),
    )

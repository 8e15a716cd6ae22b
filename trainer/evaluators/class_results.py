"""Results of an evaluator that answers with classes, and with one against all others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluators.binary import (
    Scored,
    Threshold,
    binary_figures,
    roc_rows,
    threshold_row,
)
from trainer.evaluators.classification import (
    Answers,
    class_figures,
    confusion_rows,
    per_class_rows,
)
from trainer.evaluators.compared import ComparedResult
from trainer.schema.evaluation import Features, Figure, Row


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset, and how figures of them are named."""

    prefix: str
    """Start of the names of figures."""
    labels: tuple[str, ...]
    positive: int | None
    """Class to tell from all others."""
    seed: int
    """Seed of the intervals."""
    binary_prefix: str = ""
    """Start of the names of figures of the positive class."""

    def result(
        self,
        answers: Answers,
        threshold: Threshold | None,
        *,
        features: Features = "trained encoder",
    ) -> ComparedResult:
        """Return figures and tables; those of the positive class are at `threshold`."""
        figures = class_figures(self.prefix, answers, seed=self.seed, features=features)
        tables: dict[str, list[Row]] = {
            "per_class": per_class_rows(answers, self.labels),
            "confusion": confusion_rows(answers, self.labels),
        }
        if self.positive is None or threshold is None:
            return ComparedResult(figures, tables)
        test, label = self.scored(answers), self.labels[self.positive]
        of_label = binary_figures(test, threshold, seed=self.seed, features=features)
        figures += tuple(
            each.model_copy(update={"name": f"{self.binary_prefix}{each.name}"})
            for each in of_label
        )
        tables["roc"] = roc_rows(test, features=features)
        tables["at_threshold"] = [threshold_row(test, threshold, label=label, features=features)]
        return ComparedResult(figures, tables, (threshold.note,) if threshold.note else ())

    def of_shares(self, bank: Tensor, test: Tensor) -> tuple[Figure, ...]:
        """Return the figures of answering with the share of each class in the bank.

        `bank` and `test` are the classes of their rows, int64 [n].
        """
        counts = bank.cpu().bincount(minlength=len(self.labels)).double()
        shares: NDArray[np.float64] = (counts / counts.sum()).expand(len(test), -1).numpy()
        answers = Answers(shares, test.cpu().numpy())
        return class_figures(self.prefix, answers, seed=self.seed, features="majority class")

    def scored(self, answers: Answers) -> Scored:
        """Return the scores of the positive class, of which there must be one."""
        assert self.positive is not None
        return Scored(answers.probabilities[:, self.positive], answers.labels == self.positive)

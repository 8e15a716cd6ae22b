"""Figures and tables of a classifier, from probabilities and true classes: numpy, float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.evaluators.intervals import Counts, bootstrap, share
from trainer.schema.evaluation import TABLE_ROWS_MAX, TEXT_MAX, Features, Figure, Row

UNKNOWN = "(not in the bank)"
"""Name of a test row's class that the bank does not have."""


class Answers(NamedTuple):
    """Answers of a classifier for test rows."""

    probabilities: NDArray[np.float64]
    """[n, C]."""
    labels: NDArray[np.int64]
    """[n]; -1 for a class that the classifier does not know."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class [n]; of equals the lower number."""
        answers: NDArray[np.int64] = self.probabilities.argmax(1).astype(np.int64)
        return answers

    def ranks(self) -> NDArray[np.int64]:
        """Return the rank [n] of the true class, 0 for the most probable; C for an unknown class.

        Of equals the lower number comes first.
        """
        classes = self.probabilities.shape[1]
        own_class = np.maximum(self.labels, 0)[:, None]
        own = np.take_along_axis(self.probabilities, own_class, 1)
        is_lower = np.arange(classes) < own_class
        before = (self.probabilities > own) | ((self.probabilities == own) & is_lower)
        ranks: NDArray[np.int64] = np.where(self.labels < 0, classes, before.sum(1))
        return ranks


def class_figures(
    prefix: str, answers: Answers, *, seed: int, features: Features = "trained encoder"
) -> tuple[Figure, ...]:
    """Return top-1 and, beyond five classes, top-5 accuracy, macro F1 and balanced accuracy.

    `<prefix>_top1` and so on. Macro F1 is the mean over classes that are true or answered of some
    row, balanced accuracy the mean recall of those that are true: scikit-learn's definitions.
    """
    ranks, n = answers.ranks(), len(answers.labels)
    cells = _cells(answers)
    classes = answers.probabilities.shape[1]

    def macro_f1(counts: Counts) -> float:
        return macro_f1_of(_table(cells, counts, classes))

    def balanced(counts: Counts) -> float:
        return balanced_accuracy_of(_table(cells, counts, classes))

    depths = (1, 5) if classes > 5 else (1,)
    shares = [
        share(f"{prefix}_top{depth}", int((ranks < depth).sum()), n, features=features)
        for depth in depths
    ]
    return (
        *(figure for figures in shares for figure in figures),
        *bootstrap(f"{prefix}_macro_f1", macro_f1, n=n, seed=seed, features=features),
        *bootstrap(f"{prefix}_balanced_accuracy", balanced, n=n, seed=seed, features=features),
    )


def confusion_matrix(answers: Answers) -> NDArray[np.int64]:
    """Return rows of each true class and answer, int64 [C + 1, C]: last those of no known class."""
    counts = np.ones(len(answers.labels), np.int64)
    return _table(_cells(answers), counts, answers.probabilities.shape[1])


def macro_f1_of(matrix: NDArray[np.int64]) -> float:
    """Return the mean F1 = 2 TP / (2 TP + FP + FN) of the classes that are true or answered."""
    true, answered, right = _sums(matrix)
    both = true + answered
    is_there = both > 0
    return float((2 * right[is_there] / both[is_there]).mean()) if is_there.any() else float("nan")


def balanced_accuracy_of(matrix: NDArray[np.int64]) -> float:
    """Return the mean recall of the classes that have rows."""
    true, _, right = _sums(matrix)
    is_there = true > 0
    return float((right[is_there] / true[is_there]).mean()) if is_there.any() else float("nan")


def per_class_rows(answers: Answers, names: Sequence[str]) -> list[Row]:
    """Return precision, recall and F1 of each class with test rows or answers (PER_CLASS).

    Of more classes than a table holds the first are kept.
    """
    true, answered, right = _sums(confusion_matrix(answers))
    return [
        {
            "label": names[number][:TEXT_MAX],
            "rows": int(true[number]),
            "predicted": int(answered[number]),
            "precision": _ratio(right[number], answered[number]),
            "recall": _ratio(right[number], true[number]),
            "f1": _ratio(2 * right[number], true[number] + answered[number]),
        }
        for number in np.flatnonzero(true + answered).tolist()
    ][:TABLE_ROWS_MAX]


def confusion_rows(answers: Answers, names: Sequence[str]) -> list[Row]:
    """Return the cells of the confusion matrix that are not 0, by class, as CONFUSION has.

    Of more cells than a table holds those with most rows are kept.
    """
    matrix = confusion_matrix(answers)
    true = matrix.sum(1)
    cells = np.argwhere(matrix)
    if len(cells) > TABLE_ROWS_MAX:
        order = np.argsort(-matrix[tuple(cells.T)], kind="stable")[:TABLE_ROWS_MAX]
        cells = cells[np.sort(order)]
    labels = [*names, UNKNOWN]
    return [
        {
            "label": labels[label][:TEXT_MAX],
            "predicted": names[answer][:TEXT_MAX],
            "rows": int(matrix[label, answer]),
            "share": float(matrix[label, answer] / true[label]),
        }
        for label, answer in cells.tolist()
    ]


def _cells(answers: Answers) -> NDArray[np.int64]:
    """Return the number of each row's cell in a matrix [C + 1, C]."""
    classes = answers.probabilities.shape[1]
    rows: NDArray[np.int64] = np.where(answers.labels < 0, classes, answers.labels)
    cells: NDArray[np.int64] = rows * classes + answers.predicted
    return cells


def _table(cells: NDArray[np.int64], counts: Counts, classes: int) -> NDArray[np.int64]:
    size = (classes + 1) * classes
    summed = np.bincount(cells, weights=counts, minlength=size)
    matrix: NDArray[np.int64] = summed.astype(np.int64).reshape(classes + 1, classes)
    return matrix


def _sums(
    matrix: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return of each known class the rows, the answers, and the right answers."""
    return matrix[:-1].sum(1), matrix.sum(0), matrix[:-1].diagonal()


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None

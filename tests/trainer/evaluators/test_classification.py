"""Figures and tables of a classifier against scikit-learn."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluators.classification import (
    UNKNOWN,
    Answers,
    balanced_accuracy_of,
    class_figures,
    confusion_matrix,
    confusion_rows,
    macro_f1_of,
    per_class_rows,
)

CLASSES = 7


def made_up(seed: int, *, rows: int = 90, unknown: int = 0) -> Answers:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES - 1, rows)  # of the last class there is none
    scores = draw.dirichlet(np.full(CLASSES, 0.3), rows)
    scores[np.arange(rows), labels] += 0.2
    labels[:unknown] = -1
    return Answers(scores / scores.sum(1, keepdims=True), labels)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    answers = made_up(seed)
    truth, predicted = answers.labels, answers.predicted
    figures = {each.name: each for each in class_figures("linear", answers, seed=0)}
    numbers = np.arange(CLASSES)
    top5 = metrics.top_k_accuracy_score(truth, answers.probabilities, k=5, labels=numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last class is answered, and never true
        expected = {
            "linear_top1": metrics.accuracy_score(truth, predicted),
            "linear_top5": top5,
            "linear_macro_f1": metrics.f1_score(truth, predicted, average="macro"),
            "linear_balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        }
    assert {name: each.value for name, each in figures.items()} == pytest.approx(expected)
    for each in figures.values():
        assert each.n == len(truth)
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.value <= each.high


def test_tables_are_those_of_scikit_learn() -> None:
    answers = made_up(3)
    names = [f"class {number}" for number in range(CLASSES)]
    matrix = metrics.confusion_matrix(answers.labels, answers.predicted, labels=range(CLASSES))
    assert (confusion_matrix(answers)[:-1] == matrix).all()
    cells = {
        (row["label"], row["predicted"]): row["rows"] for row in confusion_rows(answers, names)
    }
    assert cells == {(names[i], names[j]): matrix[i, j] for i, j in np.argwhere(matrix).tolist()}
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=range(CLASSES), zero_division=0
    )
    for row in per_class_rows(answers, names):
        number = names.index(str(row["label"]))
        assert row["rows"] == rows[number]
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert (row[name] or 0.0) == pytest.approx(values[number]), name


def test_a_row_of_an_unknown_class_is_wrong_and_is_told() -> None:
    known, unknown = made_up(4), made_up(4, unknown=30)
    (top1, *_) = class_figures("linear", unknown, seed=0)
    rest = known.labels[30:] == known.predicted[30:]
    assert top1.value == pytest.approx(rest.sum() / 90)
    rows = confusion_rows(unknown, [str(number) for number in range(CLASSES)])
    assert sum(int(str(row["rows"])) for row in rows if row["label"] == UNKNOWN) == 30
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last class is answered, and never true
        expected = metrics.balanced_accuracy_score(known.labels[30:], known.predicted[30:])
    assert balanced_accuracy_of(confusion_matrix(unknown)) == pytest.approx(expected)


@pytest.mark.parametrize("figure", [macro_f1_of, balanced_accuracy_of])
def test_nothing_known_has_no_mean(figure: Callable[..., float]) -> None:
    assert np.isnan(figure(np.zeros((4, 3), np.int64)))


def test_random_labels_give_chance() -> None:
    """Ten classes, drawn apart from the features: the interval of top-1 holds .1."""
    draw = np.random.default_rng(0)
    answers = Answers(draw.dirichlet(np.ones(10), 2000), draw.integers(0, 10, 2000))
    for figure in class_figures("linear", answers, seed=0):
        chance = 0.5 if figure.name == "linear_top5" else 0.1
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < chance < figure.high or figure.name == "linear_macro_f1"

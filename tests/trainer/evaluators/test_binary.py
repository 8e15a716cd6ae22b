"""One class against all others, against scikit-learn; thresholds never see test rows."""

import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluators.binary import (
    Scored,
    auroc,
    average_precision,
    binary_figures,
    chosen_threshold,
    false_positive_rate,
    outcomes,
    roc_rows,
    threshold_row,
)
from trainer.evaluators.thresholds import SpecificityThreshold, ThresholdRule

RULES: tuple[ThresholdRule, ...] = (0.5, "youden", SpecificityThreshold(specificity=0.95))


def made_up(seed: int, *, rows: int = 150) -> Scored:
    """Return scores with many ties."""
    draw = np.random.default_rng(seed)
    positive = draw.random(rows) < 0.3
    return Scored((draw.random(rows) * 0.7 + 0.3 * positive).round(2), positive)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    rows = made_up(seed)
    assert auroc(rows) == pytest.approx(metrics.roc_auc_score(rows.positive, rows.scores))
    expected = metrics.average_precision_score(rows.positive, rows.scores)
    assert average_precision(rows) == pytest.approx(expected)
    counts = np.random.default_rng(9).integers(0, 4, len(rows.scores))
    weighted = metrics.roc_auc_score(rows.positive, rows.scores, sample_weight=counts)
    assert auroc(rows, counts) == pytest.approx(weighted)
    false_rate, true_rate, _ = metrics.roc_curve(rows.positive, rows.scores, sample_weight=counts)
    rate = false_positive_rate(rows, counts, sensitivity=0.95)
    assert rate == pytest.approx(false_rate[true_rate >= 0.95].min())


def test_figures_at_a_threshold_are_those_of_scikit_learn() -> None:
    rows = made_up(3)
    threshold = chosen_threshold("youden", made_up(4))
    answers = rows.scores >= threshold.value
    tn, fp, fn, tp = metrics.confusion_matrix(rows.positive, answers).ravel()
    assert outcomes(rows, threshold.value) == (tp, fp, tn, fn)
    figures = {each.name: each for each in binary_figures(rows, threshold, seed=0)}
    assert {name: each.value for name, each in figures.items()} == pytest.approx(
        {
            "auroc": metrics.roc_auc_score(rows.positive, rows.scores),
            "auprc": metrics.average_precision_score(rows.positive, rows.scores),
            "sensitivity": metrics.recall_score(rows.positive, answers),
            "specificity": metrics.recall_score(~rows.positive, ~answers),
            "ppv": metrics.precision_score(rows.positive, answers),
            "npv": metrics.precision_score(~rows.positive, ~answers),
            "f1": metrics.f1_score(rows.positive, answers),
            "brier": metrics.brier_score_loss(rows.positive, rows.scores),
        }
    )
    assert figures["sensitivity"].n == tp + fn
    assert figures["specificity"].n == tn + fp
    row = threshold_row(rows, threshold, label="sick", features="raw input")
    assert (row["rule"], row["validation_rows"]) == ("youden", 150)


def test_the_curve_goes_through_points_of_scikit_learn() -> None:
    rows = made_up(5)
    false_rate, true_rate, _ = metrics.roc_curve(
        rows.positive, rows.scores, drop_intermediate=False
    )
    points = [
        (row["false_positive_rate"], row["true_positive_rate"])
        for row in roc_rows(rows, features="trained encoder")
    ]
    assert points == [*zip(false_rate.tolist(), true_rate.tolist(), strict=True)]


def test_a_specificity_has_the_lowest_threshold_that_reaches_it() -> None:
    rows = made_up(6)
    value = chosen_threshold(SpecificityThreshold(specificity=0.95), rows).value
    negatives = rows.scores[~rows.positive]
    assert (negatives < value).mean() >= 0.95
    lower = max(score for score in rows.scores if score < value)
    assert (negatives < lower).mean() < 0.95


def test_youden_is_the_best_of_all_thresholds() -> None:
    rows = made_up(7)

    def index(value: float) -> float:
        tp, fp, tn, fn = outcomes(rows, value)
        return tp / (tp + fn) + tn / (tn + fp) - 1.0

    chosen = chosen_threshold("youden", rows)
    assert index(chosen.value) == pytest.approx(max(map(index, rows.scores)))


@pytest.mark.parametrize("rule", RULES)
def test_validation_rows_of_one_side_give_the_middle(rule: ThresholdRule) -> None:
    rows = Scored(np.array([0.2, 0.9]), np.array([True, True]))
    threshold = chosen_threshold(rule, rows)
    assert threshold.value == 0.5
    assert bool(threshold.note) == (rule != 0.5)


def test_one_side_alone_has_no_areas_and_no_curve() -> None:
    rows = Scored(np.array([0.2, 0.9]), np.array([True, True]))
    figures = binary_figures(rows, chosen_threshold(0.5, rows), seed=0)
    assert {each.name for each in figures} == {
        *("auprc", "sensitivity", "ppv", "npv", "f1", "brier"),
    }
    assert roc_rows(rows, features="trained encoder") == []

"""One class against all others: ROC, areas, and a threshold that test rows have no part in."""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.evaluators.intervals import Counts, bootstrap, share
from trainer.evaluators.thresholds import ThresholdRule
from trainer.schema.evaluation import Features, Figure, Row

CURVE_POINTS_MAX = 200
"""Points of a ROC curve."""
MIDDLE = 0.5
"""Threshold where no other can be chosen."""


class Scored(NamedTuple):
    """Scores, such as probabilities of the positive class, and which rows are positive."""

    scores: NDArray[np.float64]  # [n]
    positive: NDArray[np.bool_]  # [n]


class Threshold(NamedTuple):
    """Score from which a row counts as positive."""

    value: float
    rule: str
    rows: int
    """Rows that it was chosen on; 0 for a fixed one."""
    note: str = ""
    """Sentence that says why the rule could not be followed; empty if it was."""


class Outcomes(NamedTuple):
    """Numbers of rows by side and answer."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


def chosen_threshold(rule: ThresholdRule, validation: Scored) -> Threshold:
    """Return the threshold of a rule, from validation rows alone.

    `youden` maximizes sensitivity + specificity - 1 (Youden, Cancer 3, 1950); a specificity has the
    lowest threshold that reaches it. Both are 0.5 where validation rows are of one side only.
    """
    if isinstance(rule, float):
        return Threshold(rule, f"{rule:g}", 0)
    specificity = None if isinstance(rule, str) else rule.specificity
    name = "youden" if specificity is None else f"specificity {specificity:g}"
    n = len(validation.scores)
    if validation.positive.all() or not validation.positive.any():
        note = f"The {n} validation rows are of one side only, so the threshold is {MIDDLE}."
        return Threshold(MIDDLE, name, n, note)
    false_rate, true_rate, thresholds = roc(validation)
    if specificity is None:
        point = int(np.argmax(true_rate - false_rate))
    else:
        point = int(np.flatnonzero(1.0 - false_rate >= specificity - 1e-12)[-1])
    return Threshold(_finite(thresholds[point]), name, n)


def binary_figures(
    test: Scored,
    threshold: Threshold,
    *,
    seed: int,
    features: Features = "trained encoder",
) -> tuple[Figure, ...]:
    """Return areas, Brier score, and shares at a threshold: `auroc` and so on.

    Areas are missing where test rows are of one side only.
    """
    n = len(test.scores)
    at = test.scores >= threshold.value
    totals = outcomes(test, threshold.value)

    def f1(counts: Counts) -> float:
        both = counts @ (test.positive & at)
        wrong = counts @ (test.positive != at)
        return float(2 * both / (2 * both + wrong)) if both or wrong else float("nan")

    error = np.square(test.scores - test.positive)
    return (
        *area_figures(test, seed=seed, features=features),
        *side_shares(totals, features=features),
        *share(
            "ppv",
            totals.true_positives,
            totals.true_positives + totals.false_positives,
            features=features,
        ),
        *share(
            "npv",
            totals.true_negatives,
            totals.true_negatives + totals.false_negatives,
            features=features,
        ),
        *bootstrap("f1", f1, n=n, seed=seed, features=features),
        *bootstrap(
            "brier",
            lambda counts: float(counts @ error / n),
            n=n,
            seed=seed,
            features=features,
        ),
    )


def area_figures(
    rows: Scored, *, seed: int, features: Features, prefix: str = ""
) -> tuple[Figure, ...]:
    """Return `auroc` and `auprc`, named with a prefix; none where they are not defined."""
    order = falling(rows)
    return tuple(
        figure
        for name, area in (("auroc", auroc), ("auprc", average_precision))
        for figure in bootstrap(
            f"{prefix}{name}",
            partial(area, rows, order=order),
            n=len(rows.scores),
            seed=seed,
            features=features,
        )
    )


def side_shares(counts: Outcomes, *, features: Features, prefix: str = "") -> tuple[Figure, ...]:
    """Return `sensitivity` and `specificity`, named with a prefix; none of a side without rows."""
    sides = (
        ("sensitivity", counts.true_positives, counts.false_negatives),
        ("specificity", counts.true_negatives, counts.false_positives),
    )
    return tuple(
        figure
        for name, right, wrong in sides
        for figure in share(f"{prefix}{name}", right, right + wrong, features=features)
    )


def falling(rows: Scored) -> NDArray[np.int64]:
    """Return the order of rows by falling score, int64 [n]."""
    return np.argsort(-rows.scores, kind="stable")


def roc(
    rows: Scored,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates at falling thresholds, the first of them infinite.

    Rows with equal scores are one point. Both sides have rows.
    """
    hits, misses = (np.append(0, sums) for sums in _cumulated(rows, None, None))
    thresholds = np.append(np.inf, np.unique(rows.scores)[::-1])
    return misses / misses[-1], hits / hits[-1], thresholds


def auroc(
    rows: Scored, counts: Counts | None = None, *, order: NDArray[np.int64] | None = None
) -> float:
    """Return the share of pairs of a positive and a negative row in the right order, ties half.

    `counts`: how often each row counts; `order`: rows by falling score. NaN if a side is empty.
    """
    hits, misses = _cumulated(rows, counts, order)
    if not hits[-1] or not misses[-1]:
        return float("nan")
    # Trapezoids: each tie of positives and negatives has half of its pairs.
    area = np.sum(np.diff(misses, prepend=0) * (hits + np.append(0, hits[:-1])) / 2)
    return float(area / hits[-1] / misses[-1])


def average_precision(
    rows: Scored, counts: Counts | None = None, *, order: NDArray[np.int64] | None = None
) -> float:
    """Return the sum of precision x gain in recall over thresholds; NaN without positives."""
    hits, misses = _cumulated(rows, counts, order)
    if not hits[-1]:
        return float("nan")
    precision = hits / np.maximum(hits + misses, 1)
    return float(np.sum(precision * np.diff(hits, prepend=0)) / hits[-1])


def false_positive_rate(
    rows: Scored,
    counts: Counts | None = None,
    *,
    sensitivity: float,
    order: NDArray[np.int64] | None = None,
) -> float:
    """Return the least false positive rate at which a sensitivity is reached.

    `counts` and `order` as for `auroc`. NaN if a side is empty.
    """
    hits, misses = _cumulated(rows, counts, order)
    if not hits[-1] or not misses[-1]:
        return float("nan")
    point = int(np.argmax(hits >= (sensitivity - 1e-12) * hits[-1]))
    return float(misses[point] / misses[-1])


def outcomes(rows: Scored, threshold: float) -> Outcomes:
    """Return the numbers of rows whose answer is `score >= threshold`."""
    at, positive = rows.scores >= threshold, rows.positive
    return Outcomes(
        int((at & positive).sum()),
        int((at & ~positive).sum()),
        int((~at & ~positive).sum()),
        int((~at & positive).sum()),
    )


def roc_rows(rows: Scored, *, features: Features) -> list[Row]:
    """Return points of the ROC curve, as ROC has; none where a side is empty.

    Of more than CURVE_POINTS_MAX points some are kept at equal distances, with both ends.
    """
    if rows.positive.all() or not rows.positive.any():
        return []
    false_rate, true_rate, thresholds = roc(rows)
    kept = np.arange(len(thresholds))
    if len(kept) > CURVE_POINTS_MAX:
        kept = np.unique(np.linspace(0, len(kept) - 1, CURVE_POINTS_MAX).round().astype(int))
    return [
        {
            "false_positive_rate": float(false_rate[point]),
            "true_positive_rate": float(true_rate[point]),
            "threshold": float(thresholds[point]) if np.isfinite(thresholds[point]) else None,
            "features": features,
        }
        for point in kept.tolist()
    ]


def threshold_row(rows: Scored, threshold: Threshold, *, label: str, features: Features) -> Row:
    """Return the counts at a threshold and how it was chosen, as THRESHOLD has."""
    return {
        "positive_label": label,
        "rule": threshold.rule,
        "threshold": threshold.value,
        "validation_rows": threshold.rows,
        **outcomes(rows, threshold.value)._asdict(),
        "features": features,
    }


def _cumulated(
    rows: Scored, counts: Counts | None, order: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positives and negatives so far at the end of each run of equal scores."""
    order = falling(rows) if order is None else order
    weights = np.ones(len(order), np.int64) if counts is None else counts[order]
    scores, positive = rows.scores[order], rows.positive[order]
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    return np.cumsum(weights * positive)[ends], np.cumsum(weights * ~positive)[ends]


def _finite(threshold: float) -> float:
    """Return a threshold as a number: infinity, where no row counts, is just above 1."""
    return float(threshold) if np.isfinite(threshold) else float(np.nextafter(1.0, 2.0))

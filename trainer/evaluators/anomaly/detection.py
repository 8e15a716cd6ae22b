"""Figures of scores that tell anomalies from normal rows, by scikit-learn's measures."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.evaluators.intervals import Counts
from trainer.schema.evaluation import Cell

SENSITIVITY = 0.95
"""Share of anomalies at whose score the false positive rate is read."""
POINTS_MAX = 200
"""Points of a ROC curve."""


class Scored(NamedTuple):
    """Scores, higher for anomalies, and which rows are anomalies."""

    scores: NDArray[np.float64]
    """[n]"""
    positive: NDArray[np.bool_]
    """[n]"""


class Threshold(NamedTuple):
    """Score above which a row is an anomaly."""

    value: float
    rows: int
    """Rows of the bank that it was taken from."""


def auroc(rows: Scored, counts: Counts) -> float:
    """Return the area under the ROC curve of rows as often as they count; NaN without a side."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - slow to load

    if not _has_both(rows, counts):
        return float("nan")
    return float(roc_auc_score(rows.positive, rows.scores, sample_weight=counts))


def average_precision(rows: Scored, counts: Counts) -> float:
    """Return the average precision of rows as often as they count; NaN without a side."""
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - slow to load

    if not _has_both(rows, counts):
        return float("nan")
    return float(average_precision_score(rows.positive, rows.scores, sample_weight=counts))


def false_positive_rate(rows: Scored, counts: Counts) -> float:
    """Return the least false positive rate at which SENSITIVITY is reached; NaN without a side."""
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - slow to load

    if not _has_both(rows, counts):
        return float("nan")
    false_rate, true_rate, _ = roc_curve(rows.positive, rows.scores, sample_weight=counts)
    return float(false_rate[true_rate >= SENSITIVITY - 1e-12].min())


def roc_rows(rows: Scored) -> list[dict[str, Cell]]:
    """Return points of the ROC curve as the table has them; none without a side."""
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - slow to load

    if not _has_both(rows, np.ones(len(rows.scores), np.int64)):
        return []
    false_rate, true_rate, thresholds = roc_curve(rows.positive, rows.scores)
    points = np.unique(np.linspace(0, len(thresholds) - 1, POINTS_MAX).round().astype(int))
    return [
        {
            "false_positive_rate": float(false_rate[point]),
            "true_positive_rate": float(true_rate[point]),
            "threshold": float(thresholds[point]) if np.isfinite(thresholds[point]) else None,
        }
        for point in points.tolist()
    ]


def counts_above(rows: Scored, threshold: float) -> tuple[int, int, int, int]:
    """Return true and false positives, true and false negatives of `score > threshold`."""
    above, positive = rows.scores > threshold, rows.positive
    return (
        int((above & positive).sum()),
        int((above & ~positive).sum()),
        int((~above & ~positive).sum()),
        int((~above & positive).sum()),
    )


def _has_both(rows: Scored, counts: Counts) -> bool:
    """Return whether both anomalies and normal rows count."""
    anomalies = int(counts @ rows.positive)
    return 0 < anomalies < int(counts.sum())

"""Logistic regression on fixed features, by scikit-learn, with all labels or with a few."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.suites.breadth.figures import Values, auroc

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C to choose from on validation rows."""
FEW, FEW_DRAWS = 16, 20
"""Labels of each class, and draws of them."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """Features and classes of the rows of one split."""

    values: Values
    """[N, D]."""
    positive: Mask


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to fit, to choose on and to ask."""

    train: Part
    val: Part
    test: Part


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of probes that were fitted alike, by draw of the labels, at the chosen strength."""

    strength: float
    val: Values
    """[draws, rows]."""
    test: Values


def probe_all(split: Split) -> Scores:
    """Return the scores of the probe that all labels fit."""
    return _probe(split, [np.arange(len(split.train.positive))])


def probe_few(split: Split) -> Scores:
    """Return the scores of probes that a few labels fit; the same rows for any features."""
    return _probe(split, list(few_rows(split.train.positive)))


def few_rows(positive: Mask) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each draw of labels."""
    for draw in range(FEW_DRAWS):
        random = np.random.default_rng(draw)
        classes = (np.flatnonzero(positive), np.flatnonzero(~positive))
        yield np.concatenate([random.choice(rows, FEW, replace=False) for rows in classes])


def _probe(split: Split, draws: Sequence[NDArray[np.int64]]) -> Scores:
    """Return the scores at the strength whose mean area is largest on the validation rows."""
    candidates = []
    for strength in STRENGTHS:
        fits = [_scores(split, rows, strength) for rows in draws]
        val, test = (np.stack(scores) for scores in zip(*fits, strict=True))
        candidates.append(Scores(strength, val, test))
    return max(candidates, key=lambda each: float(auroc(each.val, split.val.positive).mean()))


def _scores(split: Split, rows: NDArray[np.int64], strength: float) -> tuple[Values, Values]:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2_000))
    probe.fit(split.train.values[rows], split.train.positive[rows])
    val, test = (probe.decision_function(part.values) for part in (split.val, split.test))
    return np.asarray(val), np.asarray(test)


def threshold_at(scores: Values, positive: Mask, *, specificity: float) -> float:
    """Return the lowest score from which a row counts as positive that keeps a specificity."""
    negatives = np.sort(scores[~positive])
    left_alone = int(np.ceil(specificity * len(negatives)))
    return float(np.nextafter(negatives[left_alone - 1], np.inf))

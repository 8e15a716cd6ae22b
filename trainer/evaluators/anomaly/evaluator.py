"""Anomalies: test rows scored by their distance to normal ones, with a threshold of those alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.evaluators.anomaly.anomaly_rows import AnomalyRows, anomaly_rows
from trainer.evaluators.anomaly.neighbor_distance import neighbor_distance
from trainer.evaluators.anomaly.spec import FIGURES, HEADLINES, SHOWN, ResolvedAnomalySpec
from trainer.evaluators.base import EvaluationData, FeatureBank, Measured, NotMeasured
from trainer.evaluators.binary import (
    Scored,
    Threshold,
    area_figures,
    auroc,
    falling,
    false_positive_rate,
    outcomes,
    roc_rows,
    side_shares,
)
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.cosine import unit
from trainer.evaluators.intervals import bootstrap, share
from trainer.evaluators.labelled_rows import evenly, image_notes, label_notes
from trainer.schema.evaluation import TEXT_MAX, Features, Figure, Row
from trainer.spec.resolved import ResolvedSpec

CENTERED = "anomaly_auroc_centered"
"""Figure of features without the mean of normal rows."""
PERCENTILE = 99.0
"""Percentile of the scores of normal rows; a row above it is an anomaly."""
SENSITIVITY = 0.95
"""Share of anomalies at whose score the false positive rate is read."""
LEFT_OUT_ROWS = 2_000
"""Rows of the bank that are scored among the others for the threshold, evenly spaced."""


@dataclass(frozen=True)
class Anomaly(ComparedEvaluator[ResolvedAnomalySpec]):
    """A bank of normal rows, and rows to score."""

    rows: AnomalyRows
    seed: int

    signals = frozenset(FIGURES)
    headlines = frozenset(HEADLINES)
    baseline_tables = frozenset({"roc"})

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return how well one subject tells anomalies from normal rows. Raises Stopped."""
        normal, test = self._features(bank, subject)
        scores, threshold = self._scores(unit(normal), unit(test), bank.stop_if_asked)
        return ComparedResult(
            figures_of(scores, threshold, seed=self.seed, features=subject.features),
            {
                "threshold": [_threshold_row(scores, threshold)],
                "roc": roc_rows(scores, features=subject.features),
                "anomalies": self._most_anomalous(scores),
            },
            (_counted(scores),),
        )

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return those of every evaluator, and of raw input without the mean of normal rows.

        Brightness alone may tell anomalies; what the mean does not hold is left then.
        """
        measured = super().baselines(bank)
        normal, test = self._features(bank, Subject("input", "raw input"))
        mean = normal.mean(0)
        scores, _ = self._scores(unit(normal - mean), unit(test - mean), bank.stop_if_asked)
        figures = bootstrap(
            CENTERED,
            partial(auroc, scores, order=falling(scores)),
            n=len(scores.scores),
            seed=self.seed,
            features="raw input",
        )
        signals = {f"{figure.name}_raw": figure.value for figure in figures}
        return measured._replace(
            signals=measured.signals | signals, figures=(*measured.figures, *figures)
        )

    def _features(self, bank: FeatureBank, subject: Subject) -> tuple[Tensor, Tensor]:
        """Return the features of normal rows and of test rows."""
        rows = self.rows
        return (
            bank.features(rows.source, rows.bank, feature=subject.feature),
            bank.features(rows.test_source, rows.test, feature=subject.feature),
        )

    def _scores(
        self, normal: Tensor, test: Tensor, stop_if_asked: Callable[[], None]
    ) -> tuple[Scored, Threshold]:
        """Return the scores of test rows, and the threshold, in which these have no part."""
        (own,) = send_together(
            (torch.from_numpy(evenly(np.arange(len(normal)), LEFT_OUT_ROWS)),), normal.device
        )
        k = self.spec.k
        left_out = neighbor_distance(normal[own], normal, k=k, own=own, stop_if_asked=stop_if_asked)
        scores = neighbor_distance(test, normal, k=k, stop_if_asked=stop_if_asked)
        percentile = np.percentile(left_out.numpy(), PERCENTILE)
        above = float(np.nextafter(percentile, np.inf))  # a normal row at it is no anomaly
        threshold = Threshold(above, f"percentile {PERCENTILE:g}", len(own))
        return Scored(scores.numpy(), self.rows.is_anomaly), threshold

    def _most_anomalous(self, scores: Scored) -> list[Row]:
        """Return the test rows with the highest scores, the highest first."""
        pack, rows = self.rows.test_source.pack, self.rows.test.numpy()
        first = np.argsort(-scores.scores, kind="stable")[:SHOWN].tolist()
        return [
            {
                "row": int(rows[place]),
                "name": pack.name(int(rows[place]))[-TEXT_MAX:],
                "label": pack.facts.labels[int(pack.labels[rows[place]])][:TEXT_MAX],
                "score": float(scores.scores[place]),
                "anomaly": bool(scores.positive[place]),
            }
            for place in first
        ]


def plan(
    spec: ResolvedSpec, own: ResolvedAnomalySpec, data: EvaluationData
) -> Anomaly | NotMeasured:
    """Choose the rows."""
    rows = anomaly_rows(
        spec, data, normal=own.normal, bank_rows=own.bank_rows, test_rows=own.test_rows
    )
    anomalies, normal = int(rows.is_anomaly.sum()), int((~rows.is_anomaly).sum())
    if len(rows.bank) < 2 or not anomalies or not normal:
        return NotMeasured(
            f"{len(rows.bank)} images to compare with have the normal labels "
            f"{', '.join(own.normal)}; {normal} others to score have them, and {anomalies} have "
            "other labels. Anomalies need 2, 1 and 1, so nothing is scored."
        )
    notes = image_notes(spec, data) + label_notes(spec, data, rows.test)
    return Anomaly(own, rows, spec.seed, notes=notes)


def figures_of(
    scores: Scored, threshold: Threshold, *, seed: int, features: Features
) -> tuple[Figure, ...]:
    """Return areas, false positive rate, and shares at the threshold."""
    n = len(scores.scores)
    at_sensitivity = partial(
        false_positive_rate, scores, sensitivity=SENSITIVITY, order=falling(scores)
    )
    return (
        *area_figures(scores, seed=seed, features=features, prefix="anomaly_"),
        *share("anomaly_prevalence", int(scores.positive.sum()), n, features=features),
        *bootstrap("anomaly_fpr95", at_sensitivity, n=n, seed=seed, features=features),
        *side_shares(outcomes(scores, threshold.value), features=features, prefix="anomaly_"),
    )


def _counted(scores: Scored) -> str:
    return f"{int(scores.positive.sum()):,} of {len(scores.positive):,} test images are anomalies."


def _threshold_row(scores: Scored, threshold: Threshold) -> Row:
    """Return the counts at the threshold, as the table has them."""
    return {
        "threshold": threshold.value,
        "normal_rows": threshold.rows,
        **outcomes(scores, threshold.value)._asdict(),
    }

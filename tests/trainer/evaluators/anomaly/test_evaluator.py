"""Anomalies of a job: rows, figures against scikit-learn, and a threshold of normal rows alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.dataset_facts import made_up_facts
from tests.support.data.tiny_pack import blobs
from tests.support.trainer.evaluations import Evaluating, evaluating, labelled_pack
from trainer.evaluators.anomaly.evaluator import Anomaly, figures_of
from trainer.evaluators.binary import Scored, Threshold, auroc, false_positive_rate
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

CLASSES = ("good", "scratch", "hole")


def job_of(tmp_path: Path, **settings: Any) -> Evaluating:  # noqa: ANN401
    pack = labelled_pack(tmp_path / "pack", *blobs(90, side_px=12, classes=3), classes=CLASSES)
    return evaluating({"name": "anomaly", "normal": ["good"]} | settings, pack)


def plan_of(job: Evaluating) -> Anomaly:
    (plan,) = job.evaluation.evaluators
    assert isinstance(plan, Anomaly)
    return plan


def scored(rows: int, seed: int, *, shift: float) -> Scored:
    draw = np.random.default_rng(seed)
    positive = draw.random(rows) < 0.3
    return Scored(draw.normal(size=rows).round(1) + shift * positive, positive)  # with ties


def by_pairs(scores: Scored) -> dict[str, float]:
    """The definitions by loops: pairs in the right order, and precision at each threshold."""
    anomalies, normal = scores.scores[scores.positive], scores.scores[~scores.positive]
    order = np.sign(anomalies[:, None] - normal)
    thresholds = np.unique(scores.scores)[::-1]
    recall = [float((anomalies >= value).mean()) for value in thresholds]
    precision = [scores.positive[scores.scores >= value].mean() for value in thresholds]
    gains = np.diff(recall, prepend=0.0)
    reached = min(value for value in -thresholds if (anomalies >= -value).mean() >= 0.95)
    return {
        "anomaly_auroc": float((order + 1).mean() / 2),
        "anomaly_auprc": float((gains * precision).sum()),
        "anomaly_fpr95": float((normal >= -reached).mean()),
    }


def test_figures_are_those_of_the_definitions() -> None:
    scores = scored(400, 0, shift=1.0)
    found = figures_of(scores, Threshold(1.0, "fixed", 9), seed=0, features="trained encoder")
    values = {figure.name: figure.value for figure in found}
    positive, above = scores.positive, scores.scores >= 1.0
    assert values == pytest.approx(
        by_pairs(scores)
        | {
            "anomaly_prevalence": positive.mean(),
            "anomaly_sensitivity": above[positive].mean(),
            "anomaly_specificity": (~above)[~positive].mean(),
        }
    )
    for figure in found:
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high


def test_labels_at_random_are_told_apart_by_chance_only() -> None:
    found = figures_of(
        scored(2000, 1, shift=0.0), Threshold(0.0, "fixed", 9), seed=0, features="raw input"
    )
    values = {figure.name: figure for figure in found}
    assert abs(values["anomaly_auroc"].value - 0.5) < 0.05
    assert abs(values["anomaly_auprc"].value - values["anomaly_prevalence"].value) < 0.05
    assert abs(values["anomaly_fpr95"].value - 0.95) < 0.05


@pytest.mark.parametrize("side", [False, True])
def test_one_side_alone_has_no_rate(side: bool) -> None:
    scores = Scored(np.ones(3), np.full(3, side))
    assert np.isnan([auroc(scores), false_positive_rate(scores, sensitivity=0.95)]).all()


def test_normal_rows_are_split_and_all_others_are_scored(tmp_path: Path) -> None:
    _, labels = blobs(90, side_px=12, classes=3)
    job = job_of(tmp_path)
    rows = plan_of(job).rows
    good = np.flatnonzero(labels == 0)
    held_out = rows.test.numpy()[~rows.is_anomaly]
    assert len(held_out) == len(good) // 10
    assert sorted([*rows.bank.tolist(), *held_out.tolist()]) == good.tolist()
    assert rows.test.numpy()[rows.is_anomaly].tolist() == np.flatnonzero(labels).tolist()

    measured, baselines = job.measure(), job.baselines()
    assert baselines.signals.keys() == {
        *("anomaly_auroc_raw", "anomaly_auroc_centered_raw", "anomaly_auroc_untrained"),
    }
    assert baselines.signals["anomaly_auroc_untrained"] == measured.signals["anomaly_auroc"]
    assert len(measured.tables["anomalies"]) == 12
    scores = [row["score"] for row in measured.tables["anomalies"]]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert measured.tables["anomalies"][0]["label"] in CLASSES
    (at,) = measured.tables["threshold"]
    assert at["normal_rows"] == len(rows.bank)


def test_no_test_row_has_a_part_in_the_threshold(tmp_path: Path) -> None:
    """Neither another order of the labels nor other rows to score move it."""
    job = job_of(tmp_path)
    plan = plan_of(job)

    def threshold(changed: Anomaly) -> object:
        evaluation = replace(job.evaluation, evaluators=(changed,))
        (row,) = replace(job, evaluation=evaluation).measure().tables["threshold"]
        return row["threshold"]

    swapped = replace(plan.rows, is_anomaly=~plan.rows.is_anomaly)
    fewer = replace(plan.rows, test=plan.rows.test[::3], is_anomaly=plan.rows.is_anomaly[::3])
    expected = threshold(plan)
    assert threshold(replace(plan, rows=swapped)) == expected
    assert threshold(replace(plan, rows=fewer)) == expected


def test_a_test_dataset_has_the_labels_and_the_dataset_is_normal(tmp_path: Path) -> None:
    images, _ = blobs(30, side_px=12, classes=3)
    good = labelled_pack(tmp_path / "good", images, None)
    test = labelled_pack(
        tmp_path / "test", *blobs(40, side_px=12, classes=3, seed=1), classes=CLASSES
    )
    evaluation = {"name": "anomaly", "normal": ["good"]}
    rows = plan_of(evaluating(evaluation, good, test=test, test_dataset="y")).rows
    assert rows.bank.tolist() == list(range(30))
    assert len(rows.test) == 40
    _, labels = blobs(40, side_px=12, classes=3, seed=1)
    assert rows.is_anomaly.tolist() == (labels != 0).tolist()
    none = evaluating({"name": "anomaly", "normal": ["x"]}, good, test=test, test_dataset="y")
    assert none.evaluation.evaluators == ()
    assert "0 others to score have them" in none.evaluation.not_measured[0]


@pytest.mark.parametrize(
    ("labels", "settings", "words"),
    [
        ((), {}, "the dataset has no labels; name those of the test dataset"),
        (("a", "b"), {}, "all labels of the dataset are normal"),
        (("a", "b"), {"normal": ["c"]}, "the dataset has no label 'c'; its labels are a, b"),
    ],
)
def test_a_job_without_normal_images_is_refused_at_its_field(
    labels: tuple[str, ...], settings: dict[str, Any], words: str
) -> None:
    spec = JobSpec.model_validate({"dataset": "x", "evaluation": {"name": "anomaly"} | settings})
    with pytest.raises(SpecError, match=words) as refused:
        resolve(spec, made_up_facts(rows=1000, labels=labels))
    assert refused.value.field == "evaluation.normal"


def test_with_a_test_dataset_the_labels_of_the_dataset_are_normal() -> None:
    words = {"dataset": "x", "test_dataset": "y", "evaluation": {"name": "anomaly"}}
    resolved = resolve(JobSpec.model_validate(words), made_up_facts(rows=1000, labels=("good",)))
    (own,) = resolved.spec.evaluators
    assert getattr(own, "normal") == ("good",)  # noqa: B009 - of this evaluator alone

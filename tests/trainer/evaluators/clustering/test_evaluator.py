"""Clustering of a job: its rows, its figures against scikit-learn, and why it is left out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from tests.support.data.tiny_pack import blobs
from tests.support.trainer.evaluations import evaluating, labelled_pack
from trainer.evaluators.clustering.evaluator import Clustering, silhouette
from trainer.evaluators.compared import Subject
from trainer.evaluators.cosine import unit

CLASSES = ("a", "b", "c")


def test_rows_of_a_test_dataset_are_clustered_and_described(tmp_path: Path) -> None:
    pack, test = (
        labelled_pack(tmp_path / name, *blobs(rows, side_px=12, classes=3), classes=CLASSES)
        for name, rows in (("pack", 40), ("test", 60))
    )
    job = evaluating({"name": "clustering", "starts": 3}, pack, test=test)
    (plan,) = job.evaluation.evaluators
    assert isinstance(plan, Clustering)
    assert (plan.k, len(plan.rows.rows)) == (3, 60)
    measured, baselines = job.measure(), job.baselines()
    figures = {figure.name: figure for figure in measured.figures}
    assert measured.signals.keys() == figures.keys()
    assert measured.signals.keys() == {"nmi", "ari", "clustering_accuracy", "silhouette"}
    assert baselines.signals["nmi_untrained"] == measured.signals["nmi"]
    for figure in measured.figures:
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.high
    assert sum(row["rows"] for row in measured.tables["clusters"]) == 60  # type: ignore[misc]
    assert all(0 < row["share"] <= 1 for row in measured.tables["clusters"])  # type: ignore[operator]


def test_the_silhouette_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    clusters = np.arange(60) % 3
    features = draw.normal(size=(60, 5)) + 2 * np.eye(3, 5)[clusters]
    (figure,) = silhouette(
        unit(torch.tensor(features)), clusters, subject=Subject("input", "raw input"), seed=0
    )
    expected = silhouette_score(features, clusters, metric="cosine")
    assert figure.value == pytest.approx(expected, abs=1e-9)
    alike = np.zeros(60, np.int64)
    assert (
        silhouette(
            unit(torch.tensor(features)), alike, subject=Subject("input", "raw input"), seed=0
        )
        == ()
    )


@pytest.mark.parametrize(
    ("labels", "k", "reason"),
    [
        ([-1] * 30, None, "0 of 30 rows have labels; clustering needs 20"),
        ([0] * 30, None, "3 held-out labeled images cannot be put into 1 clusters"),
        ([0, 1] * 15, 9, "3 held-out labeled images cannot be put into 9 clusters"),
    ],
)
def test_it_says_why_nothing_is_clustered(
    labels: list[int], k: int | None, reason: str, tmp_path: Path
) -> None:
    images, _ = blobs(30, side_px=12, classes=2)
    pack = labelled_pack(tmp_path / "pack", images, np.array(labels, np.int32), classes=("a", "b"))
    evaluation = evaluating({"name": "clustering", "k": k}, pack).evaluation
    assert evaluation.evaluators == ()
    assert evaluation.not_measured[0].startswith(reason)

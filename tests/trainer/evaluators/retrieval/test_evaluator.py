"""Retrieval of a job: its rows, and its figures against scikit-learn on features cut by numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.support.data.tiny_pack import blobs
from tests.support.trainer.evaluations import Evaluating, evaluating, labelled_pack
from trainer.evaluators.base import Measured
from trainer.evaluators.retrieval.evaluator import Retrieval
from trainer.schema.errors import DataError

CLASSES = ("a", "b", "c")


def retrieval(tmp_path: Path, test: Path | None = None, **settings: Any) -> Evaluating:  # noqa: ANN401
    pack = labelled_pack(tmp_path / "pack", *blobs(120, side_px=12, classes=3), classes=CLASSES)
    return evaluating({"name": "retrieval"} | settings, pack, test=test)


def plan_of(evaluating: Evaluating) -> Retrieval:
    (plan,) = evaluating.evaluation.evaluators
    assert isinstance(plan, Retrieval)
    return plan


def value_of(measured: Measured, name: str, features: str) -> float:
    (value,) = (
        each.value for each in measured.figures if (each.name, each.features) == (name, features)
    )
    return value


def test_raw_input_is_searched_as_scikit_learn_says(tmp_path: Path) -> None:
    """The rows of the tenth search one another; baselines and headlines are signals."""
    job = retrieval(tmp_path)
    gallery = plan_of(job).gallery
    measured = job.baselines()
    images, labels = blobs(120, side_px=12, classes=3)
    rows = gallery.rows.numpy()
    assert len(rows) == 12
    pixels = images / 255.0
    pixels = ((pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2)))[rows].reshape(12, -1)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    expected = []
    for query in range(12):
        others = np.arange(12) != query
        relevant = (labels[rows] == labels[rows[query]])[others]
        if relevant.any():
            expected.append(average_precision_score(relevant, (pixels @ pixels[query])[others]))
    assert measured.signals["map_raw"] == pytest.approx(np.mean(expected))
    assert value_of(measured, "map", "raw input") == measured.signals["map_raw"]
    assert measured.signals.keys() == {
        *("map_raw", "map_untrained", "hit_at_1_raw", "hit_at_1_untrained"),
    }


def test_an_untrained_encoder_is_its_own_baseline(tmp_path: Path) -> None:
    job = retrieval(tmp_path, k=5, gallery="train")
    first, baselines = job.measure(), job.baselines()
    assert len(plan_of(job).gallery.rows) == 108
    assert first.signals["map"] == baselines.signals["map_untrained"]
    assert {"precision_at_5", "precision_at_10"} <= {figure.name for figure in first.figures}
    figures = {figure.name: figure for figure in first.figures}
    for name in ("map", "hit_at_1"):
        low, high = figures[name].low, figures[name].high
        assert low is not None
        assert high is not None
        assert low <= figures[name].value <= high
    assert figures["hit_at_1"].interval == "wilson"
    assert sum(row["queries"] for row in first.tables["labels"]) == 12  # type: ignore[misc]


def test_unknown_labels_of_a_test_dataset_can_be_searched_among_themselves(tmp_path: Path) -> None:
    other = labelled_pack(
        tmp_path / "other", *blobs(40, side_px=12, classes=3, seed=5), classes=("x", "y", "z")
    )
    job = retrieval(tmp_path, other, query_rows=7)
    assert len(plan_of(job).gallery.rows) == 40
    table = job.measure().tables["labels"]
    assert {row["label"] for row in table} <= {"x", "y", "z"}
    with pytest.raises(DataError, match="no label in common"):
        retrieval(tmp_path / "second", other, gallery="train")


def test_it_says_why_nothing_is_searched(tmp_path: Path) -> None:
    images, labels = blobs(30, side_px=12, classes=3)
    labels[5:] = -1
    pack = labelled_pack(tmp_path / "pack", images, labels, classes=CLASSES)
    evaluation = evaluating({"name": "retrieval"}, pack).evaluation
    assert evaluation.evaluators == ()
    assert evaluation.not_measured == (
        "5 of 30 rows have labels; retrieval needs 20, so nothing is searched.",
    )

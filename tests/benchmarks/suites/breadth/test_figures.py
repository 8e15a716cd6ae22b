"""Arithmetic of the claims, against scikit-learn and by hand."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks.suites.breadth import labels, probes, sequences, tiles
from benchmarks.suites.breadth.figures import Figure, auroc, bootstrap
from benchmarks.suites.breadth.jobs import Embedded
from benchmarks.suites.breadth.pixels import nearest_label, raw_pixels

DRAW = np.random.default_rng(0)


def test_a_figure_of_seeds() -> None:
    figure = Figure((0.5, 0.6, 0.7))
    assert figure.standard_error == pytest.approx(stats.sem(figure.by_seed))
    low, high = stats.t.interval(0.95, df=2, loc=0.6, scale=figure.standard_error)
    assert figure.interval == pytest.approx((low, high))
    assert str(figure) == f"0.600 ({low:.3f} to {high:.3f})"
    assert (figure - Figure((0.4, 0.5, 0.6))).by_seed == pytest.approx((0.1, 0.1, 0.1))
    assert Figure((0.5,)).standard_error == 0.0


def test_areas_are_those_of_scikit_learn_with_ties() -> None:
    positive = DRAW.random(200) < 0.3
    scores = np.round(DRAW.normal(size=(3, 200)) + positive, 1)
    expected = [roc_auc_score(positive, each) for each in scores]
    assert auroc(scores, positive) == pytest.approx(expected)


def test_the_bootstrap_of_a_mean_is_that_of_its_normal() -> None:
    values = DRAW.normal(size=400)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), 400)
    margin = 1.96 * values.std() / math.sqrt(400)
    assert high - low == pytest.approx(2 * margin, rel=0.1)


def test_a_bootstrap_is_paired() -> None:
    values = DRAW.normal(size=100)
    assert bootstrap(lambda rows: float((values[rows] + 1.0 - values[rows]).mean()), 100) == (
        pytest.approx((1.0, 1.0))
    )


def test_random_labels_are_at_chance() -> None:
    split = probes.Split(*(part(rows, signal=0.0) for rows in (300, 300, 2000)))
    scores = probes.probe_all(split)
    assert float(auroc(scores.test, split.test.positive)[0]) == pytest.approx(0.5, abs=0.05)


def part(rows: int, *, signal: float) -> probes.Part:
    positive = DRAW.random(rows) < 0.5
    return probes.Part(DRAW.normal(size=(rows, 4)) + signal * positive[:, None], positive)


def test_probes_never_see_the_test_rows() -> None:
    """Permuted test rows change neither the strength nor the threshold nor any score."""
    train, val, test = (part(rows, signal=1.0) for rows in (60, 60, 80))
    order = DRAW.permutation(80)
    scores = probes.probe_few(probes.Split(train, val, test))
    other = probes.probe_few(
        probes.Split(train, val, probes.Part(test.values[order], ~test.positive))
    )
    assert other.strength == scores.strength
    assert np.allclose(other.val, scores.val)
    assert np.allclose(other.test, scores.test[:, order])
    assert scores.test.shape == (probes.FEW_DRAWS, 80)
    assert float(auroc(scores.test, test.positive).mean()) > 0.8


def test_few_labels_are_as_many_of_each_class() -> None:
    positive = np.arange(100) < 30
    for rows in probes.few_rows(positive):
        assert len(set(rows.tolist())) == 2 * probes.FEW
        assert positive[rows].sum() == probes.FEW


@pytest.mark.parametrize("specificity", [0.9, 0.95])
def test_a_threshold_keeps_its_specificity_and_is_the_lowest(specificity: float) -> None:
    scores = np.arange(100.0)
    negative = np.ones(100, bool)
    found = probes.threshold_at(scores, ~negative, specificity=specificity)
    assert np.mean(scores < found) >= specificity
    assert np.mean(scores < np.nextafter(found, -np.inf)) < specificity


def test_anomaly_scores_are_mean_distances() -> None:
    bank, asked = DRAW.normal(size=(40, 6)), DRAW.normal(size=(10, 6))
    search = NearestNeighbors(n_neighbors=tiles.NEIGHBOURS, metric="cosine").fit(bank)
    distances, _ = search.kneighbors(asked)
    assert tiles.scores_of(rows_of(bank), rows_of(asked)) == pytest.approx(distances.mean(axis=1))


def rows_of(values: np.ndarray[tuple[int, int], np.dtype[np.float64]], label: str = "") -> Embedded:
    names = tuple(f"{label}/{number}.png" for number in range(len(values)))
    return Embedded(names, np.array([label] * len(values)), values)


def test_pairs_by_hand() -> None:
    values = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    rows = Embedded(("a", "b", "c"), np.array(["x", "x", "y"]), values)
    alike, other = labels.pairs_of(rows)
    assert alike == pytest.approx([0.0])
    assert other == pytest.approx([math.sqrt(2.0)] * 2)
    assert labels.pair_accuracy(rows, labels.best_threshold(rows)) == 1.0
    assert labels.balanced_accuracy(alike, other, 2.0) == 0.5


def test_raw_pixels_are_in_the_order_of_names(tmp_path: Path) -> None:
    """As features are, so that a row of one is that of the other."""
    values = {"pneumonia/0.png": 0, "normal/1.png": 102, "pneumonia/2.png": 255}
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, value in values.items():
            Image.new("L", (4, 4), value).save(content := io.BytesIO(), "png")
            archive.writestr(name, content.getvalue())
    names, rows = raw_pixels(tmp_path / "images.zip", 2)
    assert names == ("normal/1.png", "pneumonia/0.png", "pneumonia/2.png")
    assert rows.mean(axis=1).tolist() == [0.4, 0.0, 1.0]


def test_a_query_does_not_find_itself() -> None:
    values = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    names = np.array(["x", "y", "z"])
    assert nearest_label(values, values, names).tolist() == ["x", "y", "z"]
    assert nearest_label(values, values, names, is_same=True).tolist() == ["y", "x", "y"]


def test_views_of_the_other_side_are_asked() -> None:
    names = tuple(f"images/obj{each}__{view}.png" for each in (1, 2) for view in range(72))
    by_object = np.eye(2).repeat(72, axis=0)
    assert sequences.found_ratio(names, by_object, sequences.GALLERY, sequences.QUERIES) == 1.0
    # Object 2 is found only on the side that is shown.
    by_object[72 + 27 : 72 + 45] = (1.0, 0.0)
    assert sequences.found_ratio(names, by_object, sequences.GALLERY, sequences.QUERIES) == 0.5

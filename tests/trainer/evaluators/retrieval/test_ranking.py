"""Figures of rankings against loops in numpy and against scikit-learn."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score

from trainer.evaluators.base import Stopped
from trainer.evaluators.retrieval import ranking
from trainer.evaluators.retrieval.ranking import LabelledFeatures, ranking_figures


def made_up(rows: int, *, classes: int, seed: int, first: int = 0) -> LabelledFeatures:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    centres = np.random.default_rng(99).normal(size=(classes, 6))
    features = centres[labels] + draw.normal(scale=1.5, size=(rows, 6))
    features *= draw.uniform(0.5, 3.0, (rows, 1))  # only angles count
    return LabelledFeatures(
        torch.tensor(features), torch.tensor(labels), torch.arange(first, first + rows)
    )


def similarities(queries: LabelledFeatures, gallery: LabelledFeatures) -> NDArray[np.float64]:
    def unit(rows: LabelledFeatures) -> NDArray[np.float64]:
        features = rows.features.numpy()
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / lengths)

    similarity: NDArray[np.float64] = unit(queries) @ unit(gallery).T
    return similarity


def loop(queries: LabelledFeatures, gallery: LabelledFeatures, *, k: int) -> dict[str, list[float]]:
    """The definitions, for one query after the other, AP and NDCG from scikit-learn."""
    expected = defaultdict[str, list[float]](list)
    for row, label, scores in zip(
        queries.rows.tolist(), queries.labels.tolist(), similarities(queries, gallery), strict=True
    ):
        others = gallery.rows.numpy() != row
        relevant, score = (gallery.labels.numpy() == label)[others], scores[others]
        if not relevant.any():
            continue
        ranked = relevant[np.argsort(-score, kind="stable")]
        found, all_of_them = ranked[:k].sum(), ranked.sum()
        expected[f"precision_at_{k}"].append(found / k)
        expected[f"recall_at_{k}"].append(found / all_of_them)
        expected[f"hit_at_{k}"].append(float(found > 0))
        expected["r_precision"].append(ranked[:all_of_them].mean())
        expected["map"].append(average_precision_score(relevant, score))
        expected[f"ndcg_at_{k}"].append(ndcg_score([relevant.astype(float)], [score], k=k))
    return expected


@pytest.mark.parametrize("cells", [10**9, 700])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_figures_are_those_of_the_definitions(
    k: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "SIMILARITY_CELLS", cells)
    gallery = made_up(150, classes=5, seed=0)
    queries = LabelledFeatures(*(part[::3] for part in gallery))
    found, expected = (
        ranking_figures(queries, gallery, ks=(k,)).figures,
        loop(queries, gallery, k=k),
    )
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values.numpy(), expected[name], atol=1e-12, err_msg=name)
    assert 0.2 < float(found["map"].mean()) < 0.9


def test_queries_of_another_dataset_are_not_left_out_of_the_gallery() -> None:
    gallery, queries = made_up(80, classes=3, seed=1), made_up(40, classes=3, seed=2, first=1000)
    found = ranking_figures(queries, gallery, ks=(5,)).figures["recall_at_5"]
    np.testing.assert_allclose(found.numpy(), loop(queries, gallery, k=5)["recall_at_5"])


def test_queries_without_relevant_rows_are_left_out() -> None:
    features = torch.eye(4)
    rows = LabelledFeatures(features, torch.tensor([0, 0, 1, 2]), torch.arange(4))
    found = ranking_figures(rows, rows, ks=(2,))
    assert found.has_relevant.tolist() == [True, True, False, False]
    assert len(found.figures["map"]) == 2
    none = LabelledFeatures(features, torch.arange(4), torch.arange(4))
    assert [len(values) for values in ranking_figures(none, none, ks=(2,)).figures.values()] == [
        0
    ] * 6


def test_equal_rows_rank_by_their_number() -> None:
    features = torch.tensor([[1.0, 0.0]]).repeat(5, 1) * torch.tensor([[1.0], [3], [0.7], [7], [2]])
    rows = LabelledFeatures(features, torch.tensor([0, 1, 1, 0, 1]), torch.arange(5))
    found = ranking_figures(LabelledFeatures(*(part[:1] for part in rows)), rows, ks=(2,)).figures
    assert found["map"].tolist() == [1 / 3]
    assert found["precision_at_2"].tolist() == [0.0]


def test_labels_at_random_are_found_as_often_as_they_occur() -> None:
    rows = made_up(1200, classes=4, seed=3)
    labels = torch.tensor(np.random.default_rng(4).integers(0, 4, 1200))
    rows = rows._replace(labels=labels)
    found = ranking_figures(rows, rows, ks=(10,)).figures
    error = float(found["precision_at_10"].std()) / len(labels) ** 0.5
    assert abs(float(found["precision_at_10"].mean()) - 0.25) < 5 * error
    assert abs(float(found["map"].mean()) - 0.25) < 0.02


def test_stops_when_told_to() -> None:
    def stop() -> None:
        raise Stopped

    rows = made_up(20, classes=2, seed=0)
    with pytest.raises(Stopped):
        ranking_figures(rows, rows, ks=(5,), stop_if_asked=stop)

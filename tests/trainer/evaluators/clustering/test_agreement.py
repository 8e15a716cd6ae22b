"""Agreement against scikit-learn, and the best matching against all of them."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from trainer.evaluators.clustering.agreement import (
    adjusted_rand_index,
    contingency,
    matched_accuracy,
    normalized_mutual_information,
)

Labels = NDArray[np.int64]


def drawn(classes: int, clusters: int, seed: int, *, noise: float) -> tuple[Labels, Labels]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, 200)
    other = draw.integers(0, clusters, 200)
    return labels, np.where(draw.random(200) < noise, other, labels % clusters)


@pytest.mark.parametrize(
    ("classes", "clusters", "noise"),
    [(4, 4, 0.3), (3, 7, 0.5), (5, 2, 0.2), (4, 4, 1.0), (1, 3, 1)],
)
def test_agreement_is_that_of_scikit_learn(classes: int, clusters: int, noise: float) -> None:
    labels, found = drawn(classes, clusters, 0, noise=noise)
    times = np.random.default_rng(1).integers(0, 3, 200)  # a resample
    table = contingency(labels, found, times=times)
    repeated = labels.repeat(times), found.repeat(times)
    expected = normalized_mutual_info_score(*repeated)
    assert normalized_mutual_information(table) == pytest.approx(expected, abs=1e-12)
    assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(*repeated), abs=1e-12)


@pytest.mark.parametrize(("classes", "clusters"), [(4, 4), (3, 5)])
def test_each_cluster_is_matched_with_the_label_that_all_matchings_say(
    classes: int, clusters: int
) -> None:
    labels, found = drawn(classes, clusters, 2, noise=0.6)
    table = contingency(labels, found, times=np.ones(200, np.int64))
    best = max(
        sum(table[label, cluster] for label, cluster in enumerate(order))
        for order in permutations(range(clusters), classes)
    )
    assert matched_accuracy(table) == pytest.approx(best / 200)


def test_one_cluster_of_one_label_agrees() -> None:
    same = np.zeros(9, np.int64)
    table = contingency(same, same, times=np.ones(9, np.int64))
    assert normalized_mutual_information(table) == 1.0
    assert adjusted_rand_index(table) == 1.0


def test_labels_at_random_agree_by_chance_only() -> None:
    draw = np.random.default_rng(3)
    labels, found = draw.integers(0, 5, (2, 5000))
    table = contingency(labels, found, times=np.ones(5000, np.int64))
    assert abs(adjusted_rand_index(table)) < 0.005
    assert normalized_mutual_information(table) < 0.005
    assert abs(matched_accuracy(table) - 0.2) < 0.03

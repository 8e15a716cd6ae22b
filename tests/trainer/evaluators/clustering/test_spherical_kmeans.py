"""Clusters against scikit-learn, which on unit vectors far apart finds the same."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from trainer.evaluators.base import Stopped
from trainer.evaluators.clustering.spherical_kmeans import Clusters, spherical_kmeans
from trainer.evaluators.cosine import unit


def groups(rows: int, *, noise: float, seed: int = 0) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    centers = draw.normal(size=(4, 8))
    return unit(torch.tensor(centers[np.arange(rows) % 4] + noise * draw.normal(size=(rows, 8))))


def clusters_of(rows: torch.Tensor, *, seed: int = 0, starts: int = 10) -> Clusters:
    return spherical_kmeans(rows, k=4, starts=starts, seed=seed, stop_if_asked=lambda: None)


def test_groups_are_found_as_scikit_learn_finds_them() -> None:
    rows = groups(200, noise=0.3)
    found = clusters_of(rows)
    oracle = KMeans(4, n_init=10, random_state=0).fit(rows.numpy())
    assert adjusted_rand_score(oracle.labels_, found.labels.numpy()) == 1.0
    centers = torch.tensor(oracle.cluster_centers_)
    coherence = (rows * unit(centers)[found.labels.new_tensor(oracle.labels_).long()]).sum(1).mean()
    assert found.coherence == pytest.approx(float(coherence), abs=1e-9)


def test_the_centers_are_the_mean_directions_of_their_rows() -> None:
    rows = groups(120, noise=1.0)
    found = clusters_of(rows)
    means = torch.stack([rows[found.labels == cluster].sum(0) for cluster in range(4)])
    nearest = (rows @ unit(means).T).argmax(1)
    assert nearest.tolist() == found.labels.tolist(), "no row moves any more"


def test_more_starts_are_never_less_coherent_and_a_seed_names_them_all() -> None:
    rows = groups(150, noise=1.5)
    values = [clusters_of(rows, starts=starts).coherence for starts in (1, 3, 10)]
    assert values == sorted(values)
    again, other = clusters_of(rows), clusters_of(rows, seed=1, starts=1)
    assert again.labels.tolist() == clusters_of(rows).labels.tolist()
    assert other.labels.tolist() != clusters_of(rows, starts=1).labels.tolist()


def test_rows_that_are_all_alike_are_one_cluster() -> None:
    found = clusters_of(unit(torch.ones(9, 3)))
    assert found.labels.tolist() == [0] * 9
    assert found.coherence == pytest.approx(1.0)


def test_stops_when_told_to() -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        spherical_kmeans(groups(20, noise=1), k=4, starts=2, seed=0, stop_if_asked=stop)

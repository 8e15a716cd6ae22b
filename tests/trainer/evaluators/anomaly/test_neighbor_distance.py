"""Distances against scikit-learn's nearest neighbors."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from trainer.evaluators.anomaly import neighbor_distance as distances
from trainer.evaluators.anomaly.neighbor_distance import neighbor_distance
from trainer.evaluators.base import Stopped
from trainer.evaluators.cosine import unit


def rows(count: int, seed: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(count, 5)))


@pytest.mark.parametrize("cells", [10**9, 300])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_scores_are_mean_distances_to_the_nearest(
    k: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "SIMILARITY_CELLS", cells)
    bank, test = rows(60, 0), rows(25, 1)
    oracle = NearestNeighbors(metric="cosine", algorithm="brute").fit(bank.numpy())
    expected = oracle.kneighbors(test.numpy(), k)[0].mean(1)
    found = neighbor_distance(unit(test), unit(bank), k=k)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_a_row_of_the_bank_is_not_its_own_neighbor() -> None:
    bank = rows(40, 2)
    own = torch.arange(0, 40, 3)
    oracle = NearestNeighbors(metric="cosine", algorithm="brute").fit(bank.numpy())
    expected = oracle.kneighbors(bank[own].numpy(), 6)[0][:, 1:].mean(1)  # the first is itself
    found = neighbor_distance(unit(bank[own]), unit(bank), k=5, own=own)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    two = unit(rows(2, 3))
    alone = neighbor_distance(two, two, k=5, own=torch.arange(2))
    assert alone.tolist() == pytest.approx([1 - float(two[0] @ two[1])] * 2)


def test_stops_when_told_to() -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        neighbor_distance(rows(3, 0), rows(4, 1), k=2, stop_if_asked=stop)

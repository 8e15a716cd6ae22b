"""The map of the embeddings: its coordinates and its cells."""

import numpy as np
import pytest

from trainer.exports import embedding_map


@pytest.mark.parametrize("rows", [1, 2, 3, 11, 12, 40])
@pytest.mark.parametrize("alike", [False, True])
def test_a_map_of_few_or_equal_rows_is_still_a_map(rows: int, alike: bool) -> None:
    values = np.random.default_rng(1).normal(size=(rows, 8)).astype(np.float32)
    if alike:
        values[:] = values[0]
    flat = embedding_map.flatten(values, seed=2**63 - 1)
    assert flat.shape == (rows, 2)
    assert np.isfinite(flat).all()
    assert flat.min() >= 0.0
    assert flat.max() <= 1.0
    chosen = embedding_map.cells(flat, columns=8, lines=8)
    assert len({tuple(cell) for cell in chosen.tolist()}) == rows


def test_neighbours_stay_neighbours_on_the_map() -> None:
    """Three tight groups: each row's nearest neighbour on the map is of its own group."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 16))
    group = np.arange(90) % 3
    values = (centres[group] + 0.05 * rng.normal(size=(90, 16))).astype(np.float32)
    flat = embedding_map.flatten(values, seed=0)
    distance = ((flat[:, None] - flat[None]) ** 2).sum(-1) + 9.0 * np.eye(90)
    assert (group[distance.argmin(axis=1)] == group).mean() == 1.0


def test_rows_are_sampled_evenly() -> None:
    assert embedding_map.sample(3).tolist() == [0, 1, 2]
    steps = np.diff(embedding_map.sample(50_000))
    assert len(steps) == embedding_map.ROWS_MAX - 1
    assert steps.max() - steps.min() <= 1

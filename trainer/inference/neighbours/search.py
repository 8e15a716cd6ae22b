"""Pure functions that choose the query rows and find the nearest rows of a feature."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import Pack
from trainer.inference.neighbours.feature_bank import Bank

CHOSEN_ROWS = 8
LENGTH_MIN = 1e-12
"""Minimum norm of a feature in a division."""


class Neighbour(NamedTuple):
    """One neighbour."""

    row: int
    similarity: float
    """Cosine of the two features, in [-1, 1]."""


def nearest(
    features: NDArray[np.float32], bank: Bank, *, k: int, own_rows: list[int | None]
) -> list[list[Neighbour]]:
    """Return the k rows of the bank with the largest cosine to each of `features` [Q, D].

    A row is no neighbour of itself (`own_rows` [Q]); ties are ordered by row.
    """
    similarities = _unit(features) @ _unit(bank.features).T
    neighbours = []
    for line, own in zip(similarities, own_rows, strict=True):
        order = np.argsort(-line, kind="stable")
        order = order[bank.rows[order] != own] if own is not None else order
        neighbours.append(
            [Neighbour(int(bank.rows[index]), float(line[index])) for index in order[:k]]
        )
    return neighbours


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: NDArray[np.float32] = values / np.maximum(lengths, LENGTH_MIN)
    return unit


def chosen_rows(pack: Pack, *, among: NDArray[np.int64]) -> list[int]:
    """Return eight rows of `among` (ascending), one for each of eight labels, else evenly spaced.

    They depend on the dataset alone, so every checkpoint gets the same queries.
    """
    labels = np.asarray(pack.labels)[among]
    classes = np.unique(labels[labels >= 0])
    spread = among[_even(len(among))]
    if len(classes) < 2:
        return [int(row) for row in spread]
    first = [int(among[np.argmax(labels == label)]) for label in classes[_even(len(classes))]]
    more = [int(row) for row in spread if int(row) not in first]
    return (first + more)[: min(CHOSEN_ROWS, len(among))]


def _even(count: int) -> NDArray[np.int64]:
    """Return at most eight evenly spaced positions."""
    positions = np.linspace(0, count - 1, min(CHOSEN_ROWS, count)).round()
    unique: NDArray[np.int64] = np.unique(positions.astype(np.int64))
    return unique

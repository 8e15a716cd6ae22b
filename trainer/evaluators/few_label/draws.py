"""Draws of a few labels of each class, and what a regression learns from them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainer.evaluators.labelled_rows import Labelled
from trainer.evaluators.logistic import by_spread, fit
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed

STRENGTH = 1.0
"""C of the regression."""


def drawn(labels: Tensor, *, per_class: int, draw: int, seed: int) -> Tensor:
    """Return the places int64 of a draw, `per_class` of each class that there is, in its order.

    A larger `per_class` holds the places of a smaller one. Every class has as many rows.
    """
    key = derived_seed(seed, f"few labels {draw}")
    chosen = []
    for label in np.unique(labels.numpy()).tolist():
        places = (labels == label).nonzero()[:, 0]
        order = permuted_rows(torch.arange(per_class), total=len(places), seed=key, epoch=label)
        chosen.append(places[order])
    return torch.cat(chosen)


def log_probabilities(
    bank: Labelled, tested: Tensor, *, per_class: int, draws: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the places of each draw, and log probabilities float64 [n, C] for features [n, D].

    Both kinds of features are scaled by the mean and spread of the whole bank, for which no label
    is needed. C is one more than the largest label of the bank.
    """
    scaler = by_spread(bank.features)
    scaled, inputs = scaler(bank.features), scaler(tested)
    classes = int(bank.labels.max()) + 1
    for draw in range(draws):
        places = drawn(bank.labels, per_class=per_class, draw=draw, seed=seed)
        model = fit(scaled[places], bank.labels[places], classes=classes, strength=STRENGTH)
        yield places, model.log_probabilities(inputs)

"""Rows with masks of a job: some to train a classifier on, and others to test it with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.labelled_rows import (
    evenly,
    rows_of_split_test,
    rows_trained_on,
    shuffled_rows,
)
from trainer.modalities.base import Loader
from trainer.schema.choices import MASK_CLASSES_MAX, MASK_MIDDLE
from trainer.spec.resolved import ResolvedSpec

MASKED_ROWS_MIN = 2
"""A row to train the classifier on, and one to test it with."""


@dataclass(frozen=True)
class MaskedRows:
    """Rows of one pack that have masks."""

    source: Loader[Any]
    rows: Tensor
    """int64 [n], rising."""

    @property
    def values(self) -> set[int]:
        """Values of their masks."""
        pack, found = self.source.pack, np.zeros(256, np.int64)
        for row in self.rows.tolist():
            mask = pack.mask(row)
            assert mask is not None
            found += np.bincount(mask.ravel(), minlength=256)
        return set(np.flatnonzero(found).tolist())


def masked_split(
    spec: ResolvedSpec, data: EvaluationData, *, train_rows: int, test_rows: int
) -> tuple[MaskedRows, MaskedRows] | None:
    """Return rows to train on and to test with, evenly spaced; None if too few have masks.

    Test rows are those of the test dataset, of the split test, or a tenth, the same for one seed.
    """
    source, test_source = data
    pack = source.pack
    train = _masked(pack, rows_trained_on(spec, pack))
    test = _masked(pack, rows_of_split_test(spec, pack))
    tested = source
    if test_source is not None:
        tested, test = test_source, test_source.pack.masked_rows()
    elif not len(test) and len(train) >= MASKED_ROWS_MIN:
        order = shuffled_rows(len(train), seed=spec.seed, purpose="segmentation").numpy()
        tenth = max(1, len(train) // 10)
        test, train = np.sort(train[order[:tenth]]), np.sort(train[order[tenth:]])
    if not len(train) or not len(test):
        return None
    return _part(source, train, train_rows), _part(tested, test, test_rows)


def class_values(values: set[int]) -> tuple[int, ...]:
    """Return the least value of each class in masks that have these values, rising."""
    return tuple(sorted(values)) if len(values) <= MASK_CLASSES_MAX else (0, MASK_MIDDLE)


def cell_classes(maps: Tensor, *, classes: int, grid: tuple[int, int]) -> Tensor:
    """Return the class that most of each cell shows, int64 [n, h, w]; of equal ones the lower.

    `maps` uint8 [n, S, S] has the class of each pixel.
    """
    shares = [
        F.interpolate((maps == number).float()[:, None], size=grid, mode="area")
        for number in range(classes)
    ]
    return torch.cat(shares, dim=1).argmax(1)


def _masked(pack: Pack, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.intersect1d(rows, pack.masked_rows())


def _part(source: Loader[Any], rows: NDArray[np.int64], rows_max: int) -> MaskedRows:
    return MaskedRows(source, torch.from_numpy(evenly(rows, rows_max)))

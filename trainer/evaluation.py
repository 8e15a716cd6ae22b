"""Which labelled rows form the bank, which are classified, and their features."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pack import Pack
from trainer.data.source import RowSource
from trainer.errors import DataError
from trainer.evaluators.knn.evaluator import knn_top1
from trainer.evaluators.knn.spec import KnnSpec
from trainer.method import Method
from trainer.randomness import shuffled
from trainer.seeds import derived_seed
from trainer.views.views import Views

LABELLED_ROWS_MIN = 20
"""With fewer labelled rows nothing is measured."""
FEATURE_ROWS = 512
"""Rows of one forward pass."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of one pack, with the number of their class among the bank's."""

    source: RowSource
    rows: Tensor
    """int64 [n], rising."""
    labels: Tensor
    """int64 [n], on the device; -1 for a class that the bank does not know."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluator with its rows."""

    spec: KnnSpec
    views: Views
    bank: LabelledRows
    test: LabelledRows
    classes: int

    def run(self, method: Method, *, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Signals of the method as it is; it comes back in training mode. None when stopped."""
        method.eval()
        try:
            found = [self._features(part, method, should_stop) for part in (self.bank, self.test)]
        finally:
            method.train()
        if found[0] is None or found[1] is None:
            return None
        top1 = knn_top1(
            (found[0], self.bank.labels),
            (found[1], self.test.labels),
            spec=self.spec,
            classes=self.classes,
            should_stop=should_stop,
        )
        return None if top1 is None else {"knn_top1": top1}

    @torch.no_grad()
    def _features(
        self, part: LabelledRows, method: Method, should_stop: Callable[[], bool]
    ) -> Tensor | None:
        features = []
        for start in range(0, len(part.rows), FEATURE_ROWS):
            if should_stop():
                return None
            rows = part.rows[start : start + FEATURE_ROWS]
            views = self.views.plain(part.source.canvas(rows))
            features.append(method.embed(views, feature=self.spec.feature))
        return torch.cat(features)


def plan_evaluation(
    spec: KnnSpec, source: RowSource, test_source: RowSource | None, *, views: Views, seed: int
) -> Evaluation | None:
    """Choose the rows. None if the pack has too few labels to measure anything.

    Without a test source a tenth of the labelled rows is classified and left out of the bank,
    the same tenth for one seed. Raises DataError if the test source shares no class with it.
    """
    labelled = np.flatnonzero(np.asarray(source.pack.labels) >= 0)
    if len(labelled) < LABELLED_ROWS_MIN:
        return None
    order = shuffled(
        torch.arange(len(labelled)),
        total=len(labelled),
        seed=derived_seed(seed, "evaluation"),
        epoch=0,
    ).numpy()
    shuffled_rows = labelled[order]
    if test_source is None:
        tenth = len(labelled) // 10
        test = _part(source, shuffled_rows[:tenth][: spec.test_rows])
        shuffled_rows = shuffled_rows[tenth:]
    else:
        test = _test_part(source.pack, test_source, rows_max=spec.test_rows)
    bank = _part(source, shuffled_rows[: spec.bank_rows])
    return Evaluation(spec, views, bank, test, classes=len(source.pack.facts.labels))


def _test_part(pack: Pack, test_source: RowSource, *, rows_max: int) -> LabelledRows:
    """The first labelled rows of the test pack, their classes matched to the bank's by name."""
    number = {name: index for index, name in enumerate(pack.facts.labels)}
    matched = np.array([number.get(name, -1) for name in test_source.pack.facts.labels], np.int64)
    if not (matched >= 0).any():
        raise DataError("The test dataset has no label in common with the dataset.")
    part = _part(test_source, np.flatnonzero(np.asarray(test_source.pack.labels) >= 0)[:rows_max])
    labels = torch.from_numpy(matched).to(part.labels.device)[part.labels]
    return LabelledRows(test_source, part.rows, labels)


def _part(source: RowSource, rows: NDArray[np.int64]) -> LabelledRows:
    rows = np.sort(rows)
    labels = torch.from_numpy(np.asarray(source.pack.labels)[rows].astype(np.int64))
    return LabelledRows(source, torch.from_numpy(rows), labels.to(source.device))

"""Nearest-neighbor evaluation: its bank and test rows, their features, and its baselines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pack.format import Pack
from trainer.evaluators.knn.evaluator import knn_top1
from trainer.evaluators.knn.spec import KnnSpec
from trainer.methods.base import Method
from trainer.modalities.base import Loader, Views
from trainer.nn.views import View
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.schema.errors import DataError
from trainer.spec.resolved import ResolvedSpec

LABELLED_ROWS_MIN = 20
"""Minimum number of labelled rows for an evaluation."""
FEATURE_ROWS = 512
"""Rows of one forward pass."""

Embed = Callable[[View], Tensor]
"""Function from a view of B rows to features [B, D]."""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of one pack, with the number of their class among the bank's."""

    source: Loader[Any]
    rows: Tensor
    """int64 [n], rising."""
    labels: Tensor
    """int64 [n], on the device; -1 for a class that the bank does not know."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluator with its rows."""

    spec: KnnSpec
    views: Views[Any]
    bank: LabelledRows
    test: LabelledRows
    classes: int

    def run(self, method: Method, *, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return the signals of the method as it is, in training mode again; None when stopped."""

        def embed(view: View) -> Tensor:
            return method.embed(view, feature=self.spec.feature)

        method.eval()
        try:
            top1 = self._top1(embed, should_stop)
        finally:
            method.train()
        return None if top1 is None else {"knn_top1": top1}

    def baselines(
        self, method: Method, *, should_stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Return what figures are held against, with the same rows and k; None when stopped.

        `method` is untrained. The majority class is the most frequent one of the bank.
        """
        raw, untrained = (
            self._top1(self.views.raw_features, should_stop),
            self.run(method, should_stop=should_stop),
        )
        if raw is None or untrained is None:
            return None
        most = torch.bincount(self.bank.labels, minlength=self.classes).argmax()
        return {
            "knn_top1_raw": raw,
            "knn_top1_untrained": untrained["knn_top1"],
            "knn_top1_majority": float((self.test.labels == most).double().mean()),
        }

    def _top1(self, embed: Embed, should_stop: Callable[[], bool]) -> float | None:
        bank = self._features(self.bank, embed, should_stop)
        test = None if bank is None else self._features(self.test, embed, should_stop)
        if bank is None or test is None:
            return None
        return knn_top1(
            (bank, self.bank.labels),
            (test, self.test.labels),
            spec=self.spec,
            classes=self.classes,
            should_stop=should_stop,
        )

    @torch.no_grad()
    def _features(
        self, part: LabelledRows, embed: Embed, should_stop: Callable[[], bool]
    ) -> Tensor | None:
        features = []
        for start in range(0, len(part.rows), FEATURE_ROWS):
            if should_stop():
                return None
            rows = part.rows[start : start + FEATURE_ROWS]
            features.append(embed(self.views.plain(part.source.whole(rows))))
        return torch.cat(features)


def plan_evaluation(
    spec: ResolvedSpec,
    source: Loader[Any],
    test_source: Loader[Any] | None,
    *,
    views: Views[Any],
) -> Evaluation | None:
    """Choose the rows. None if evaluation is off or too few rows have labels.

    The bank consists of training rows. Without a test source the rows of the split "test" are
    classified; if there are none, a tenth of the labelled rows, chosen by the seed and excluded
    from the bank. Raises DataError if the test source shares no class with it.
    """
    pack, knn = source.pack, spec.evaluation
    has_splits = spec.use_splits and pack.split is not None
    labelled = _labelled(pack, pack.rows_of("train") if has_splits else np.arange(pack.rows))
    tested = _labelled(pack, pack.rows_of("test")) if has_splits else labelled[:0]
    if knn is None or not len(labelled) or len(labelled) + len(tested) < LABELLED_ROWS_MIN:
        return None
    bank_rows = _shuffled(labelled, spec)
    if test_source is not None:
        test = _test_part(pack, test_source, rows_max=knn.test_rows)
    elif len(tested):
        test = _part(source, _shuffled(tested, spec)[: knn.test_rows])
    else:
        tenth = max(1, len(labelled) // 10)
        test = _part(source, bank_rows[:tenth][: knn.test_rows])
        bank_rows = bank_rows[tenth:]
    bank = _part(source, bank_rows[: knn.bank_rows])
    return Evaluation(knn, views, bank, test, classes=len(pack.facts.labels))


def _labelled(pack: Pack, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = rows[np.asarray(pack.labels)[rows] >= 0]
    return found


def _shuffled(rows: NDArray[np.int64], spec: ResolvedSpec) -> NDArray[np.int64]:
    order = permuted_rows(
        torch.arange(len(rows)),
        total=len(rows),
        seed=derived_seed(spec.seed, "evaluation"),
        epoch=0,
        order=spec.order,
    )
    drawn: NDArray[np.int64] = rows[order.numpy()]
    return drawn


def _test_part(pack: Pack, test_source: Loader[Any], *, rows_max: int) -> LabelledRows:
    """The first labelled rows of the test pack, their classes matched to the bank's by name."""
    number = {name: index for index, name in enumerate(pack.facts.labels)}
    matched = np.array([number.get(name, -1) for name in test_source.pack.facts.labels], np.int64)
    if not (matched >= 0).any():
        raise DataError("The test dataset has no label in common with the dataset.")
    part = _part(test_source, np.flatnonzero(np.asarray(test_source.pack.labels) >= 0)[:rows_max])
    labels = torch.from_numpy(matched).to(part.labels.device)[part.labels]
    return LabelledRows(test_source, part.rows, labels)


def _part(source: Loader[Any], rows: NDArray[np.int64]) -> LabelledRows:
    rows = np.sort(rows)
    labels = torch.from_numpy(np.asarray(source.pack.labels)[rows].astype(np.int64))
    return LabelledRows(source, torch.from_numpy(rows), labels.to(source.device))

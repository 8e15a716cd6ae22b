"""Labelled rows of a job: those that are trained on, and others to test with."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData, Feature, FeatureBank
from trainer.modalities.base import Loader
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.schema.errors import DataError, DivergedError
from trainer.spec.resolved import ResolvedSpec

LABELLED_ROWS_MIN = 20
"""With fewer labelled rows nothing is measured."""
TRAINED_ON = "The images are those that were trained on: no test dataset or split test is there."


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of one pack, with the number of their class among the bank's."""

    source: Loader[Any]
    rows: Tensor
    """int64 [n], rising."""
    labels: Tensor
    """int64 [n], on the device; -1 for a class that the bank does not know."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of its own dataset, by number."""
        return self.source.pack.facts.labels

    def features(self, bank: FeatureBank, feature: Feature) -> Tensor:
        """Return the features [n, D] of the rows. Raises Stopped."""
        return bank.features(self.source, self.rows, feature=feature)

    def on_host(self, bank: FeatureBank, feature: Feature) -> "Labelled":
        """Return features and labels on the CPU, to fit there in float64.

        Raises Stopped, or DivergedError for features that are not finite.
        """
        features = self.features(bank, feature).cpu()
        if not bool(features.isfinite().all()):
            raise DivergedError("The features to evaluate are not finite.", step=0)
        return Labelled(features, self.labels.cpu())


class Labelled(NamedTuple):
    """Features and labels on the CPU."""

    features: Tensor
    """[n, D]."""
    labels: Tensor
    """int64 [n]; below 0 for a class that the bank does not know."""

    def at(self, rows: Tensor) -> "Labelled":
        """Return some rows: their places, or a mask of them."""
        return Labelled(self.features[rows], self.labels[rows])


def labelled_split(
    spec: ResolvedSpec, data: EvaluationData, *, bank_rows: int, test_rows: int
) -> tuple[LabelledRows, LabelledRows] | None:
    """Return rows for the bank and rows to test with; None if too few rows have labels.

    The bank is of rows that are trained on. Without a test source the rows of the split test are
    tested; where there are none, a tenth of the labelled rows, which is left out of the bank, the
    same tenth for one seed. Raises DataError if the test source shares no class with it.
    """
    rows = _chosen(spec, data)
    if rows is None:
        return None
    trained, tested = rows
    bank = _part(data.source, trained[:bank_rows])
    if data.test_source is not None:
        return bank, _test_part(data.source.pack, data.test_source, rows_max=test_rows)
    return bank, _part(data.source, tested[:test_rows])


def held_out_rows(
    spec: ResolvedSpec, data: EvaluationData, *, rows_max: int
) -> LabelledRows | None:
    """Return the rows that `labelled_split` tests with, each with the class of its own dataset.

    So a test source need not share a class with the dataset, which may have no labels. None if too
    few rows have labels.
    """
    if data.test_source is not None:
        rows = _labelled(data.test_source.pack, np.arange(data.test_source.pack.rows))
        return _part(data.test_source, evenly(rows, rows_max)) if len(rows) else None
    chosen = _chosen(spec, data)
    return None if chosen is None else _part(data.source, chosen[1][:rows_max])


def validation_rows(spec: ResolvedSpec, data: EvaluationData) -> LabelledRows | None:
    """Return the labelled rows of the split val; None where there are none."""
    pack = data.source.pack
    rows = _labelled(pack, pack.rows_of("val")) if spec.use_splits else np.empty(0, np.int64)
    return _part(data.source, rows) if len(rows) else None


def evenly(rows: NDArray[np.int64], rows_max: int) -> NDArray[np.int64]:
    """Return at most `rows_max` of the rows, evenly spaced, in their order."""
    if len(rows) <= rows_max:
        return rows
    return rows[np.arange(rows_max) * len(rows) // rows_max]


def _chosen(
    spec: ResolvedSpec, data: EvaluationData
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return labelled rows of the dataset to train on and to test with, shuffled; None if few.

    With a test source there are none to test with.
    """
    pack = data.source.pack
    labelled = _labelled(pack, rows_trained_on(spec, pack))
    tested = _labelled(pack, rows_of_split_test(spec, pack))
    if not len(labelled) or len(labelled) + len(tested) < LABELLED_ROWS_MIN:
        return None
    shuffled = _shuffled(labelled, spec)
    if data.test_source is not None:
        return shuffled, labelled[:0]
    if len(tested):
        return shuffled, _shuffled(tested, spec)
    tenth = _tenth(labelled)
    return shuffled[tenth:], shuffled[:tenth]


def shuffled_rows(rows: int, *, seed: int, purpose: str) -> Tensor:
    """Return int64 [rows]: the numbers below `rows` in an order keyed by seed and purpose."""
    return permuted_rows(torch.arange(rows), total=rows, seed=derived_seed(seed, purpose), epoch=0)


def positive_class(pack: Pack, label: str | None) -> int | None:
    """Return the number of a class that the dataset has, by its name; None without a name."""
    return None if label is None else pack.facts.labels.index(label)


def held_out_label_rows(spec: ResolvedSpec, data: EvaluationData) -> NDArray[np.int64]:
    """Return rows that are trained on, int64 [n], whose labels training may not use.

    They are the tenth that `labelled_split` tests with where there is nothing else to test with.
    """
    pack = data.source.pack
    tested = _labelled(pack, rows_of_split_test(spec, pack))
    if not spec.evaluators or data.test_source is not None or len(tested):
        return np.empty(0, np.int64)
    labelled = _labelled(pack, rows_trained_on(spec, pack))
    return _shuffled(labelled, spec)[: _tenth(labelled)] if len(labelled) else labelled


def rows_trained_on(spec: ResolvedSpec, pack: Pack) -> NDArray[np.int64]:
    """Return the rows of the split train where splits are used, else all."""
    return pack.rows_of("train") if spec.use_splits else np.arange(pack.rows)


def rows_of_split_test(spec: ResolvedSpec, pack: Pack) -> NDArray[np.int64]:
    """Return the rows of the split test; none where splits are not used."""
    return pack.rows_of("test") if spec.use_splits else np.empty(0, np.int64)


def image_notes(spec: ResolvedSpec, data: EvaluationData) -> tuple[str, ...]:
    """Return a sentence if there are no images that are not trained on."""
    has_own = data.test_source is not None or len(rows_of_split_test(spec, data.source.pack))
    return () if has_own else (TRAINED_ON,)


def label_notes(spec: ResolvedSpec, data: EvaluationData, tested: Tensor) -> tuple[str, ...]:
    """Return a sentence on test labels that were trained on; none if training uses no labels.

    `tested` int64 [n] are rows of the test source, or of the dataset where there is none.
    """
    if not spec.uses_labels:
        return ()
    pack, rows = data.source.pack, tested.numpy()
    used = _labelled(pack, rows_trained_on(spec, pack))
    used = np.setdiff1d(used, held_out_label_rows(spec, data))
    test_pack = pack if data.test_source is None else data.test_source.pack
    trained = int(np.isin(rows, used).sum()) if test_pack is pack else 0
    labels = _names(test_pack, rows)
    trained_labels = len(labels & _names(pack, used))
    return (
        f"Training used labels: {trained:,} of these {len(rows):,} images were trained on with "
        f"theirs, and {trained_labels:,} of their {len(labels):,} labels were trained on.",
    )


def _names(pack: Pack, rows: NDArray[np.int64]) -> set[str]:
    """Return the labels that rows have."""
    numbers = np.unique(np.asarray(pack.labels)[_labelled(pack, rows)])
    return {pack.facts.labels[number] for number in numbers.tolist()}


def _tenth(labelled: NDArray[np.int64]) -> int:
    """Return the number of rows that are held out."""
    return max(1, len(labelled) // 10)


def too_few_labels(pack: Pack) -> str:
    """Return the beginning of the sentence that says why labelled rows are too few."""
    labelled = int((np.asarray(pack.labels) >= 0).sum())
    return f"{labelled} of {pack.rows} rows have labels"


def _labelled(pack: Pack, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    labelled: NDArray[np.int64] = rows[np.asarray(pack.labels)[rows] >= 0]
    return labelled


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
    """Return labelled rows of the test pack, evenly spaced, with classes matched to the bank's."""
    number = {name: index for index, name in enumerate(pack.facts.labels)}
    matched = np.array([number.get(name, -1) for name in test_source.pack.facts.labels], np.int64)
    if not (matched >= 0).any():
        raise DataError("The test dataset has no label in common with the dataset.")
    rows = _labelled(test_source.pack, np.arange(test_source.pack.rows))
    part = _part(test_source, evenly(rows, rows_max))
    labels = torch.from_numpy(matched).to(part.labels.device)[part.labels]
    return LabelledRows(test_source, part.rows, labels)


def _part(source: Loader[Any], rows: NDArray[np.int64]) -> LabelledRows:
    rows = np.sort(rows)
    labels = torch.from_numpy(np.asarray(source.pack.labels)[rows].astype(np.int64))
    return LabelledRows(source, torch.from_numpy(rows), labels.to(source.device))

"""Rows of a dataset that a job trains on, and the labels that it may use."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluators.base import EvaluationData
from trainer.evaluators.labelled_rows import held_out_label_rows
from trainer.optim.schedule import TrainingLength
from trainer.positives.base import PartnerData, partner_data
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.schema.errors import SpecError
from trainer.spec.defaults import too_few_for_batches
from trainer.spec.resolved import ResolvedSpec

PURPOSE = "labels of a class"
"""Purpose of the random numbers that draw rows of each class."""


@dataclass(frozen=True, slots=True)
class TrainedRows:
    """Rows that a job trains on."""

    rows: NDArray[np.int64] | None
    """Their numbers, rising; None: all."""
    labels: NDArray[np.int32]
    """Label of each row of the dataset; -1 for none, and where training may not use it."""
    learns_labels: bool

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.labels) if self.rows is None else len(self.rows)

    @property
    def learned(self) -> Tensor | None:
        """Labels that the loss reads, int64 [rows of the dataset]; None if it reads none."""
        return torch.from_numpy(self.labels.astype(np.int64)) if self.learns_labels else None

    def label_counts(self, labels: int) -> Tensor:
        """Return the rows of each label, int64 [labels]."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=labels)
        return torch.from_numpy(counts.astype(np.int64))


def usable_rows(spec: ResolvedSpec, data: EvaluationData) -> PartnerData:
    """Return the rows of the split train, where splits are used, with the labels they may use."""
    pack = data.source.pack
    rows = pack.rows_of("train") if spec.use_splits and pack.facts.splits else None
    return partner_data(pack, train_rows=rows, held_out=held_out_label_rows(spec, data))


def trained_rows(spec: ResolvedSpec, usable: PartnerData) -> TrainedRows:
    """Return the rows to train on; of a job that learns labels, those that have one.

    Raises SpecError if a class has fewer rows than are to be drawn of each.
    """
    if not spec.learns_labels:
        rows = None if usable.trained.all() else np.flatnonzero(usable.trained)
        return TrainedRows(rows, usable.labels, learns_labels=False)
    per_class: int | None = getattr(spec.method, "labels_per_class", None)
    labels = usable.labels
    if per_class is not None:
        labels = drawn_labels(labels, per_class=per_class, seed=spec.seed)
    return TrainedRows(np.flatnonzero(labels >= 0), labels, learns_labels=True)


def drawn_labels(labels: NDArray[np.int32], *, per_class: int, seed: int) -> NDArray[np.int32]:
    """Return the labels of `per_class` rows of each class, -1 for all others.

    A larger `per_class` holds the rows of a smaller one. Raises SpecError.
    """
    drawn, key = np.full_like(labels, -1), derived_seed(seed, PURPOSE)
    for label in np.unique(labels[labels >= 0]).tolist():
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise SpecError(
                f"a class has only {len(rows)} labeled images to train on beside those that are "
                f"held out for the evaluation; draw {len(rows)} of each class or fewer",
                field="method.labels_per_class",
            )
        order = permuted_rows(torch.arange(per_class), total=len(rows), seed=key, epoch=label)
        drawn[rows[order.numpy()]] = label
    return drawn


def check_length(spec: ResolvedSpec, length: TrainingLength, *, rows: int) -> None:
    """Raise SpecError if the rows do not fill one batch."""
    if length.steps_per_epoch:
        return
    if spec.batching is not None:
        raise too_few_for_batches(spec.batching.rows_per_label, spec.batch_rows)
    detail = f"{spec.batch_rows} images, but only {rows} are trained on; use {rows} or fewer"
    raise SpecError(detail, field="batch_rows")

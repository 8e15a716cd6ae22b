"""Segmentation: a linear classifier of the cells of the feature map, held against masks."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.binary import Scored, auroc, falling
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.intervals import Counts, bootstrap
from trainer.evaluators.labelled_rows import evenly, image_notes, label_notes
from trainer.evaluators.logistic import Classifier, by_column, fit
from trainer.evaluators.segmentation.masked_rows import (
    MaskedRows,
    cell_classes,
    class_values,
    masked_split,
)
from trainer.evaluators.segmentation.overlap import (
    Confusions,
    class_ious,
    confusions,
    mean_iou,
)
from trainer.evaluators.segmentation.spec import HEADLINES, SIGNALS, ResolvedSegmentationSpec
from trainer.schema.errors import DivergedError
from trainer.schema.evaluation import Features, Figure, Row
from trainer.spec.resolved import ResolvedSpec

NOT_CONVERGED = "The classifier of cells had not converged when its steps were used up."


class Cells(NamedTuple):
    """Cells of the feature maps of n images, row by row."""

    features: Tensor
    """[n P, D]."""
    classes: Tensor
    """int64 [n, P]."""

    def some(self, cells_max: int) -> tuple[Tensor, Tensor]:
        """Return features and classes [N] of at most so many cells, evenly spaced."""
        chosen = torch.from_numpy(evenly(np.arange(len(self.features)), cells_max))
        return self.features[chosen], self.classes.flatten()[chosen]


@dataclass(frozen=True)
class Segmentation(ComparedEvaluator[ResolvedSegmentationSpec]):
    """Rows with masks, and the classes of these."""

    train: MaskedRows
    test: MaskedRows
    values: tuple[int, ...]
    """Least value of each class in masks, rising."""
    seed: int
    maps: dict[str, Tensor] = field(default_factory=dict)
    """Classes of the pixels of train and test rows once they are known, uint8 [n, S, S]."""

    signals = frozenset(SIGNALS)
    headlines = frozenset(HEADLINES)
    baseline_tables = frozenset({"classes"})

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the overlap of predicted and true classes of test cells. Raises Stopped."""
        inputs, targets = self._cells("train", self.train, bank, subject).some(
            self.spec.train_cells
        )
        scale = by_column(inputs)
        classifier = fit(
            scale(inputs),
            targets,
            classes=len(self.values),
            strength=self.spec.strength,
            check=bank.stop_if_alone,
        )
        test = self._cells("test", self.test, bank, subject)
        logs = classifier.log_probabilities(scale(test.features))
        counts = self._confusions(test, logs.argmax(1).view_as(test.classes))
        figures = *self._overlap(counts, subject.features), *self._area(logs, test, subject)
        table = self._per_class(counts, subject.features)
        if subject.feature == "input":
            frequent = targets.bincount(minlength=len(self.values)).argmax()
            counts = self._confusions(test, frequent.expand_as(test.classes))
            figures += self._overlap(counts, "majority class")
            table += self._per_class(counts, "majority class")
        return ComparedResult(figures, {"classes": table}, _notes(classifier))

    def _cells(self, part: str, rows: MaskedRows, bank: FeatureBank, subject: Subject) -> Cells:
        features = bank.dense(rows.source, rows.rows, feature=subject.feature).cpu()
        if not bool(features.isfinite().all()):
            raise DivergedError("The features to evaluate are not finite.", step=0)
        if part not in self.maps:
            self.maps[part] = bank.masks(rows.source, rows.rows, lows=self.values)
        grid = features.shape[2], features.shape[3]
        classes = cell_classes(self.maps[part], classes=len(self.values), grid=grid)
        return Cells(features.permute(0, 2, 3, 1).flatten(0, 2), classes.flatten(1))

    def _confusions(self, test: Cells, predicted: Tensor) -> Confusions:
        return confusions(test.classes.numpy(), predicted.numpy(), classes=len(self.values))

    def _overlap(self, counts: Confusions, features: Features) -> tuple[Figure, ...]:
        """Return the mean IoU, with the interval of resampled images."""

        def measure(times: Counts) -> float:
            return mean_iou(np.tensordot(times, counts, axes=1))

        return bootstrap("mean_iou", measure, n=len(counts), seed=self.seed, features=features)

    def _area(self, logs: Tensor, test: Cells, subject: Subject) -> tuple[Figure, ...]:
        """Return the area under the ROC curve of cells, if there are two classes."""
        if len(self.values) != 2:
            return ()
        images, cells = test.classes.shape
        scores = Scored(logs[:, 1].exp().numpy(), test.classes.flatten().numpy() == 1)
        order = falling(scores)

        def measure(times: Counts) -> float:
            return auroc(scores, times.repeat(cells), order=order)

        return bootstrap(
            "pixel_auroc", measure, n=images, seed=self.seed, features=subject.features
        )

    def _per_class(self, counts: Confusions, features: Features) -> list[Row]:
        total = counts.sum(0)
        ious = class_ious(total)
        return [
            {
                "value": value,
                "cells": int(total[number].sum()),
                "predicted": int(total[:, number].sum()),
                "iou": None if np.isnan(ious[number]) else float(ious[number]),
                "features": features,
            }
            for number, value in enumerate(self.values)
        ]


def plan(
    spec: ResolvedSpec, own: ResolvedSegmentationSpec, data: EvaluationData
) -> Segmentation | NotMeasured:
    """Choose the rows."""
    parts = masked_split(spec, data, train_rows=own.train_rows, test_rows=own.test_rows)
    if parts is None:
        return NotMeasured(
            "Segmentation needs images with masks to train a classifier on and others to test it "
            "with, and there are none; add the dataset with `--masks FOLDER`, or with the column "
            "`mask`."
        )
    train, test = parts
    values = class_values(train.values | test.values)
    if len(values) < 2:
        return NotMeasured(
            f"All masks have the one value {values[0]}, so there is nothing to segment."
        )
    notes = *image_notes(spec, data), *label_notes(spec, data, test.rows)
    return Segmentation(own, train, test, values, spec.seed, notes=notes)


def _notes(classifier: Classifier) -> tuple[str, ...]:
    return () if classifier.has_converged else (NOT_CONVERGED,)

"""The settings of the segmentation evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal


class SegmentationSpec(Record):
    """A linear classifier of the cells of the encoder's feature map, trained on masks.

    The feature map is the one before pooling; of a ViT it has the tokens of patches. Masks are
    shrunk to its cells: a cell has the class that most of it shows. Each value of the masks is a
    class; with more than 16 values there are two, from 0 and from 128. Images without a mask have
    no part. The classifier is scikit-learn's logistic regression on standardized features. For
    finer cells use a larger `views.side_px`.
    """

    name: Literal["segmentation"]
    """Evaluator name."""
    strength: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    """Inverse strength of the penalty on the weights, C."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: about 5 rounds."""
    train_rows: Annotated[int, Field(ge=2, le=100_000)] = 500
    """Maximum number of images with masks to train the classifier on."""
    train_cells: Annotated[int, Field(ge=2, le=10_000_000)] = 10_000
    """Maximum number of cells of these images to train it on, evenly spaced."""
    test_rows: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Maximum number of images with masks to test it with."""
    baselines: bool | None = None
    """Also evaluate raw pixels, the untrained encoder and the most frequent class once. Default:
    yes."""

    @property
    def feature(self) -> Literal["backbone"]:
        """Features to measure: always the encoder's."""
        return "backbone"


class ResolvedSegmentationSpec(SegmentationSpec):
    """Segmentation with every value."""

    every_epochs: int
    baselines: bool


SIGNALS = {
    "mean_iou": Signal(
        "ratio",
        "segmentation: mean over the classes of intersection over union",
        "mean_iou_ratio",
        better="up",
    ),
    "pixel_auroc": Signal(
        "ratio",
        "segmentation: area under the ROC curve of the cells of two classes, 0.5 by chance",
        "pixel_auroc_ratio",
        better="up",
    ),
    "mean_iou_raw": Signal("ratio", "baseline: mean_iou of raw pixels", "mean_iou_raw_ratio"),
    "mean_iou_untrained": Signal(
        "ratio", "baseline: mean_iou of the untrained encoder", "mean_iou_untrained_ratio"
    ),
    "mean_iou_majority": Signal(
        "ratio", "baseline: mean_iou of the most frequent class", "mean_iou_majority_ratio"
    ),
}
"""Signals of its rounds."""
HEADLINES = ("mean_iou",)
"""Signals that baselines have too."""
TABLES = {
    "classes": Table(
        "Classes of the masks",
        {
            "value": "least value of the class in masks",
            "cells": "cells of test images with the class",
            "predicted": "cells of test images that are classified so",
            "iou": "intersection over union",
            "features": "what was classified",
        },
    )
}
"""Tables of its rounds."""
ADVICE = "classify fewer cells, with a smaller `{field}.train_cells` or `{field}.test_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

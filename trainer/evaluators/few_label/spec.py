"""The settings of the few-label score."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal

PerClass = Annotated[int, Field(ge=1, le=10_000)]


class FewLabelSpec(Record):
    """Accuracy of logistic regression that learns from a few labels of each class.

    Each of `draws` draws labels as many images of each class, by key; the regression (C 1, on
    features with mean 0 and one common scale) learns from those alone and classifies the test
    images. Figures are the mean over the draws, with their standard error.
    """

    name: Literal["few_label"] = "few_label"
    """Evaluator name."""
    labels_per_class: PerClass = 5
    """Labeled images of each class, for the figures."""
    curve: Annotated[tuple[PerClass, ...], Field(strict=False, max_length=20)] = (1, 5, 10, 50)
    """Numbers of labeled images of each class for the curve; those that a class lacks are left out.
    """
    draws: Annotated[int, Field(ge=2, le=1_000)] = 20
    """Number of draws."""
    positive_label: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Class to tell from all others: AUROC for it."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: at the end only."""
    bank_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to draw from."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to classify."""
    baselines: bool | None = None
    """Also evaluate raw input and the untrained encoder once. Default: yes."""


class ResolvedFewLabelSpec(FewLabelSpec):
    """Few-label score with every value."""

    every_epochs: int
    baselines: bool


SIGNALS = {
    "few_label_accuracy": Signal(
        "ratio",
        "accuracy of logistic regression from a few labels of each class",
        "few_label_accuracy_ratio",
        better="up",
    ),
    "few_label_auroc": Signal(
        "ratio",
        "few labels: area under the ROC curve of the positive label",
        "few_label_auroc_ratio",
        better="up",
    ),
}
"""Signals of its rounds; the second is of jobs with a positive label."""
TABLES = {
    "curve": Table(
        "Accuracy by number of labels",
        {
            "labels_per_class": "labeled images of each class",
            "accuracy": "accuracy",
            "standard_error": "standard error of the mean over the draws",
            "auroc": "area under the ROC curve of the positive label",
            "auroc_standard_error": "standard error of that area",
            "draws": "draws",
            "features": "what was classified",
        },
        x="labels_per_class",
        y="accuracy",
    )
}
"""Tables of its rounds."""
ADVICE = "draw fewer times, with a smaller `{field}.draws`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

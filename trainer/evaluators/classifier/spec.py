"""The settings of the evaluation of a trained classifier."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.evaluators.class_tables import CONFUSION, PER_CLASS, ROC, THRESHOLD
from trainer.evaluators.thresholds import ThresholdRule
from trainer.schema.base import Record
from trainer.schema.signals import Signal


class ClassifierSpec(Record):
    """Answers of the trained head for labeled images that it was not trained on.

    For jobs of kind `finetune`. Its baseline is the most frequent class. With two classes there is
    a table of one against the other: sensitivity, specificity, predictive values, AUROC.
    """

    name: Literal["classifier"] = "classifier"
    """Evaluator name."""
    positive_label: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Class to tell from all others: sensitivity, specificity, predictive values, AUROC, AUPRC and
    Brier score for it. Default: with two classes the second, else none."""
    threshold: ThresholdRule = 0.5
    """Probability from which a row counts as positive: a number, `youden`, or
    `{"specificity": 0.95}`. The last two are chosen on the split `val`, never on test rows."""
    every_epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: about 20 rounds."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to classify."""


class ResolvedClassifierSpec(ClassifierSpec):
    """Evaluation of a classifier with every value."""

    every_epochs: int


PREFIX = "classifier"
"""Prefix of the names of its figures."""
SIGNALS = {
    "classifier_top1": Signal(
        "ratio",
        "classifier: accuracy on held-out labeled images",
        "classifier_top1_ratio",
        better="up",
    ),
    "classifier_top5": Signal(
        "ratio",
        "classifier: held-out labeled images with their class among the first five",
        "classifier_top5_ratio",
        better="up",
    ),
    "classifier_macro_f1": Signal(
        "ratio", "classifier: mean F1 of the classes", "classifier_macro_f1_ratio", better="up"
    ),
    "classifier_balanced_accuracy": Signal(
        "ratio",
        "classifier: mean recall of the classes",
        "classifier_balanced_accuracy_ratio",
        better="up",
    ),
    "classifier_auroc": Signal(
        "ratio",
        "classifier: area under the ROC curve of the positive label",
        "classifier_auroc_ratio",
        better="up",
    ),
    "classifier_sensitivity": Signal(
        "ratio",
        "classifier: positive images that are found at the threshold",
        "classifier_sensitivity_ratio",
        better="up",
    ),
    "classifier_specificity": Signal(
        "ratio",
        "classifier: negative images that are left alone at the threshold",
        "classifier_specificity_ratio",
        better="up",
    ),
}
"""Signals of its rounds. The last three are of jobs with a positive label."""
TABLES = {
    "per_class": PER_CLASS,
    "confusion": CONFUSION,
    "roc": ROC,
    "at_threshold": THRESHOLD,
}
"""Tables of its rounds."""
ADVICE = "classify fewer images, with a smaller `{field}.test_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

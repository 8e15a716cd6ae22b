"""The settings of the linear probe."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.evaluators.class_tables import CONFUSION, PER_CLASS, ROC, THRESHOLD
from trainer.evaluators.thresholds import ThresholdRule
from trainer.schema.base import Record
from trainer.schema.signals import Signal

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Values of C to choose from: the inverse of the penalty."""


class LinearProbeSpec(Record):
    """Linear probe: logistic regression on the features of the fixed encoder.

    `lbfgs` solves the problem of scikit-learn's LogisticRegression on standardized features, with C
    of 0.01, 0.1, 1 or 10 chosen on a tenth of the bank and refitted on all of it. `sgd` is the
    protocol of MoCo v1 and v2 (main_lincls.py): SGD with momentum 0.9 and batches of 256 on raw
    features for 100 epochs, the learning rate divided by 10 after 60 and 80 of them; its images are
    not augmented here.
    """

    name: Literal["linear"] = "linear"
    """Evaluator name."""
    protocol: Literal["lbfgs", "sgd"] = "lbfgs"
    """`lbfgs` is exact and has nothing to tune; `sgd` is that of MoCo v1 and v2."""
    lr: Annotated[float, Field(gt=0.0, le=1_000.0)] = 30.0
    """Learning rate of `sgd`."""
    positive_label: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Class to tell from all others: sensitivity, specificity, predictive values, AUROC, AUPRC and
    Brier score for it."""
    threshold: ThresholdRule = 0.5
    """Probability from which a row counts as positive: a number, `youden`, or
    `{"specificity": 0.95}`. The last two are chosen on a tenth of the bank, never on test rows."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: at the end only."""
    bank_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to learn from."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to classify."""
    baselines: bool | None = None
    """Also evaluate raw input, the untrained encoder and the majority class once. Default: yes."""


class ResolvedLinearProbeSpec(LinearProbeSpec):
    """Linear probe with every value."""

    every_epochs: int
    baselines: bool


SIGNALS = {
    "linear_top1": Signal(
        "ratio",
        "linear probe: accuracy on held-out labeled images",
        "linear_top1_ratio",
        better="up",
    ),
    "linear_top5": Signal(
        "ratio",
        "linear probe: held-out labeled images with their class among the first five",
        "linear_top5_ratio",
        better="up",
    ),
    "linear_macro_f1": Signal(
        "ratio", "linear probe: mean F1 of the classes", "linear_macro_f1_ratio", better="up"
    ),
    "linear_balanced_accuracy": Signal(
        "ratio",
        "linear probe: mean recall of the classes",
        "linear_balanced_accuracy_ratio",
        better="up",
    ),
    "auroc": Signal(
        "ratio",
        "linear probe: area under the ROC curve of the positive label",
        "linear_auroc_ratio",
        better="up",
    ),
    "auprc": Signal(
        "ratio",
        "linear probe: average precision of the positive label",
        "linear_auprc_ratio",
        better="up",
    ),
    "sensitivity": Signal(
        "ratio",
        "linear probe: positive images that are found at the threshold",
        "linear_sensitivity_ratio",
        better="up",
    ),
    "specificity": Signal(
        "ratio",
        "linear probe: negative images that are left alone at the threshold",
        "linear_specificity_ratio",
        better="up",
    ),
    "ppv": Signal(
        "ratio",
        "linear probe: images called positive that are",
        "linear_ppv_ratio",
        better="up",
    ),
    "npv": Signal(
        "ratio",
        "linear probe: images called negative that are",
        "linear_npv_ratio",
        better="up",
    ),
    "f1": Signal(
        "ratio",
        "linear probe: F1 of the positive label at the threshold",
        "linear_f1_ratio",
        better="up",
    ),
    "brier": Signal(
        "1",
        "linear probe: squared error of the positive label's probability",
        "linear_brier",
        better="down",
    ),
}
"""Signals of its rounds. The last eight are of jobs with a positive label."""
TABLES = {
    "per_class": PER_CLASS,
    "confusion": CONFUSION,
    "roc": ROC,
    "at_threshold": THRESHOLD,
}
"""Tables of its rounds."""
ADVICE = "learn from fewer images, with a smaller `{field}.bank_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

"""The settings of the anomaly evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal

SHOWN = 12
"""Most anomalous test images that are shown."""


class AnomalySpec(Record):
    """Anomalies as images far from all normal ones: the mean distance to their nearest neighbors.

    The threshold comes from normal images alone; labels of other images only judge the scores.
    """

    name: Literal["anomaly"]
    """Evaluator name."""
    normal: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=255)], ...],
            Field(strict=False, min_length=1, max_length=1_000),
        ]
        | None
    ) = None
    """Labels of normal images; all others are anomalies. Default, with a test dataset: the labels
    of the dataset."""
    k: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Number of nearest normal images whose distances are averaged."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: about 10 rounds."""
    bank_rows: Annotated[int, Field(ge=2, le=1_000_000)] = 10_000
    """Maximum number of normal images to compare with."""
    test_rows: Annotated[int, Field(ge=2, le=1_000_000)] = 10_000
    """Maximum number of labeled images to score."""
    baselines: bool | None = None
    """Also evaluate raw input, as it is and without the mean of normal images, and the untrained
    encoder once. Default: yes."""


class ResolvedAnomalySpec(AnomalySpec):
    """Anomalies with every value."""

    normal: tuple[str, ...]
    every_epochs: int
    baselines: bool


FIGURES = {
    "anomaly_auroc": "area under the ROC curve: 0.5 by chance",
    "anomaly_auprc": "average precision; by chance, the share of anomalies",
    "anomaly_fpr95": "share of normal images above the score that 95 % of anomalies reach",
    "anomaly_sensitivity": "share of anomalies above the threshold",
    "anomaly_specificity": "share of normal images up to the threshold",
}
"""Signal -> its meaning."""
HEADLINES = ("anomaly_auroc",)
"""Signals that baselines have too."""
SIGNALS = {
    name: Signal(
        "ratio",
        f"anomalies: {meaning}",
        f"{name}_ratio",
        better="down" if name == "anomaly_fpr95" else "up",
    )
    for name, meaning in FIGURES.items()
} | {
    "anomaly_auroc_raw": Signal(
        "ratio", "baseline: anomaly_auroc of raw input, at most 32 px", "anomaly_auroc_raw_ratio"
    ),
    "anomaly_auroc_centered_raw": Signal(
        "ratio",
        "baseline: anomaly_auroc of raw input without the mean of normal images",
        "anomaly_auroc_centered_raw_ratio",
    ),
    "anomaly_auroc_untrained": Signal(
        "ratio",
        "baseline: anomaly_auroc of the untrained encoder",
        "anomaly_auroc_untrained_ratio",
    ),
}
"""Signals of its rounds."""
TABLES = {
    "threshold": Table(
        "At the threshold",
        {
            "threshold": "percentile 99 of the scores of normal images, each among the others",
            "normal_rows": "number of normal images that it was taken from",
            "true_positives": "anomalies above the threshold",
            "false_positives": "normal test images above the threshold",
            "true_negatives": "normal test images up to the threshold",
            "false_negatives": "anomalies up to the threshold",
        },
    ),
    "roc": Table(
        "ROC curve",
        {
            "false_positive_rate": "false positive rate (1 - specificity)",
            "true_positive_rate": "true positive rate (sensitivity)",
            "threshold": "score from which an image counts as an anomaly",
            "features": "features that are scored",
        },
        x="false_positive_rate",
        y="true_positive_rate",
    ),
    "anomalies": Table(
        "Most anomalous images",
        {
            "row": "row in its dataset",
            "name": "file",
            "label": "label",
            "score": "mean cosine distance to the nearest normal images",
            "anomaly": "whether its label is none of the normal ones",
        },
    ),
}
"""Tables of its rounds."""
ADVICE = "score fewer images, with a smaller `{field}.test_rows` or `{field}.bank_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

"""The settings of the weighted nearest-neighbour evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.signals import Signal

K_MIN, K_MAX, K_SHARE = 5, 200, 10
"""Bounds of a suggested k, and its divisor: k is the rows of the smallest class / K_SHARE."""


class KnnSpec(Record):
    """Weighted kNN on cosine similarity.

    The protocol of the MoCo authors' CIFAR-10 notebook: k 200, temperature 0.1, `projection`.
    """

    name: Literal["knn"] = "knn"
    """Evaluator name."""
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Number of neighbors. Default: a tenth of the smallest class in the bank, from 5 to 200."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """A neighbor's vote has weight exp(similarity / temperature)."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    bank_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 50_000
    """Maximum number of labeled images in the bank."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """Maximum number of labeled images to classify."""
    baselines: bool | None = None
    """Also evaluate raw input, the untrained encoder and the majority class once. Default: yes."""


class ResolvedKnnSpec(KnnSpec):
    """Weighted kNN with every value."""

    k: int
    baselines: bool


SIGNALS = {
    "knn_top1": Signal(
        "ratio", "kNN accuracy on held-out labeled images", "knn_top1_ratio", better="up"
    ),
    "knn_top5": Signal(
        "ratio",
        "kNN: held-out labeled images with their class among the first five",
        "knn_top5_ratio",
        better="up",
    ),
    "knn_top1_raw": Signal(
        "ratio", "baseline: kNN accuracy with raw input, at most 32 px", "knn_top1_raw_ratio"
    ),
    "knn_top1_untrained": Signal(
        "ratio",
        "baseline: kNN accuracy with the untrained encoder",
        "knn_top1_untrained_ratio",
    ),
    "knn_top1_majority": Signal(
        "ratio",
        "baseline: accuracy of the bank's most frequent class",
        "knn_top1_majority_ratio",
    ),
}
"""Signals of its rounds."""
ADVICE = "classify fewer images, with a smaller `{field}.test_rows` or `{field}.bank_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""

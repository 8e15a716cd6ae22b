"""Overlap of predicted and true classes of cells: pure functions in float64."""

import numpy as np
from numpy.typing import NDArray

Confusions = NDArray[np.int64]
"""[n, K, K]: cells of each image by true and by predicted class."""


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int
) -> Confusions:
    """Return the confusions of images whose cells [n, P] have these classes in [0, classes)."""
    flat = truth * classes + predicted
    counts = [np.bincount(image, minlength=classes * classes) for image in flat]
    return np.stack(counts).reshape(-1, classes, classes)


def class_ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class from confusions [K, K]; NaN where it is empty.

    Source: Everingham et al., PASCAL VOC 2010.
    """
    both = np.diagonal(counts).astype(np.float64)
    either = counts.sum(0) + counts.sum(1) - both
    ious = np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)
    return np.asarray(ious)


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Return the mean over the classes that occur in truth or prediction; NaN without any."""
    values = class_ious(counts)
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if len(occurring) else float("nan")

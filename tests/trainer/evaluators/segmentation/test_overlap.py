"""Overlap against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from trainer.evaluators.segmentation.overlap import class_ious, confusions, mean_iou


@pytest.mark.parametrize("classes", [2, 4])
def test_ious_are_those_of_scikit_learn(classes: int) -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, classes, (6, 50))
    predicted = np.where(draw.random((6, 50)) < 0.6, truth, draw.integers(0, classes, (6, 50)))
    counts = confusions(truth, predicted, classes=classes)
    for image in range(6):
        expected = confusion_matrix(truth[image], predicted[image], labels=range(classes))
        assert counts[image].tolist() == expected.tolist()
    expected = jaccard_score(truth.ravel(), predicted.ravel(), average=None)
    np.testing.assert_allclose(class_ious(counts.sum(0)), expected)
    mean = jaccard_score(truth.ravel(), predicted.ravel(), average="macro")
    assert mean_iou(counts.sum(0)) == pytest.approx(mean)


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    counts = np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]])
    assert np.isnan(class_ious(counts)[2])
    assert mean_iou(counts) == pytest.approx((3 / 5 + 5 / 7) / 2)
    assert np.isnan(mean_iou(np.zeros((2, 2), np.int64)))

"""The figures of a classifier against scikit-learn, and where its threshold comes from."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

from tests.support.data.tiny_pack import blobs
from tests.support.trainer.evaluations import Evaluating, evaluating, labelled_pack
from trainer.evaluators.classification import Answers

ROWS = 120
WORDS = {"name": "classifier"}


def planned(folder: Path, *, classes: int) -> Evaluating:
    images, labels = blobs(ROWS, side_px=12, classes=classes)
    names = tuple("abc"[:classes])
    pack = labelled_pack(folder / "pack", images, labels, classes=names)
    return evaluating(WORDS, pack, kind="finetune", method={"name": "classification"})


def answers_of(plan: Evaluating) -> Answers:
    """Return the softmax of the head for the test rows, computed here."""
    logits = plan.evaluator.test.on_host(plan.bank(), "projection")
    odds = np.exp(logits.features.double().numpy())
    return Answers(odds / odds.sum(1, keepdims=True), logits.labels.numpy())


def test_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    plan = planned(tmp_path, classes=3)
    answers, measured = answers_of(plan), plan.measure()
    truth, predicted = answers.labels, answers.probabilities.argmax(1)
    signals = measured.signals
    assert signals["classifier_top1"] == pytest.approx(accuracy_score(truth, predicted))
    recall = balanced_accuracy_score(truth, predicted)
    assert signals["classifier_balanced_accuracy"] == pytest.approx(recall)
    macro = f1_score(truth, predicted, average="macro")
    assert signals["classifier_macro_f1"] == pytest.approx(macro)
    found = np.zeros((3, 3), int)
    for row in measured.tables["confusion"]:
        found["abc".index(str(row["label"])), "abc".index(str(row["predicted"]))] = row["rows"]
    assert (found == confusion_matrix(truth, predicted, labels=[0, 1, 2])).all()
    (top1,) = [each for each in measured.figures if each.name == "classifier_top1"]
    assert (top1.n, top1.interval) == (ROWS // 10, "wilson")
    assert "roc" not in measured.tables
    assert "0 of these 12 images were trained on with theirs" in measured.notes[0]


def test_of_two_classes_the_second_is_the_positive_one(tmp_path: Path) -> None:
    plan = planned(tmp_path, classes=2)
    answers, measured = answers_of(plan), plan.measure()
    area = roc_auc_score(answers.labels, answers.probabilities[:, 1])
    assert measured.signals["classifier_auroc"] == pytest.approx(area)
    (row,) = measured.tables["at_threshold"]
    assert (row["positive_label"], row["threshold"]) == ("b", 0.5)
    names = {each.name for each in measured.figures}
    assert {"classifier_sensitivity", "classifier_ppv", "classifier_brier"} <= names


def test_its_baseline_is_the_most_frequent_class(tmp_path: Path) -> None:
    plan = planned(tmp_path, classes=3)
    most = np.bincount(plan.evaluator.bank.labels.numpy()).argmax()
    expected = (plan.evaluator.test.labels.numpy() == most).mean()
    (top1,) = [each for each in plan.baselines().figures if each.name == "classifier_top1"]
    assert top1.value == pytest.approx(expected)
    assert top1.features == "majority class"

"""The few-label score against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.evaluations import evaluating_blobs
from trainer.evaluators.few_label.draws import drawn
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

SETTINGS = {"name": "few_label", "labels_per_class": 3, "curve": [1, 5, 500], "draws": 4}


def test_a_draw_labels_as_many_of_each_class_and_a_larger_one_holds_it() -> None:
    labels = torch.tensor([0, 1, 2, 1, 0, 2, 2, 0, 1, 1] * 4)
    few, more = (drawn(labels, per_class=n, draw=4, seed=7) for n in (3, 6))
    assert len(set(few.tolist())) == 9
    assert labels[few].bincount().tolist() == [3, 3, 3]
    assert set(few.tolist()) < set(more.tolist())
    assert few.tolist() != drawn(labels, per_class=3, draw=5, seed=7).tolist()
    assert few.tolist() != drawn(labels, per_class=3, draw=4, seed=8).tolist()


def test_scores_are_those_of_scikit_learn_on_the_same_draws(tmp_path: Path) -> None:
    plan = evaluating_blobs(tmp_path, SETTINGS | {"positive_label": "b"})
    measured = plan.measure()
    evaluator = plan.evaluator
    bank, test = (
        part.on_host(plan.bank(), "backbone") for part in (evaluator.bank, evaluator.test)
    )
    features, tested = bank.features.double().numpy(), test.features.double().numpy()
    mean = features.mean(0)
    scale = np.sqrt(((features - mean) ** 2).mean())
    accuracies, areas = [], []
    for draw in range(4):
        rows = drawn(bank.labels, per_class=3, draw=draw, seed=evaluator.seed).numpy()
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)
        model.fit((features[rows] - mean) / scale, bank.labels.numpy()[rows])
        shares = model.predict_proba((tested - mean) / scale)
        truth = test.labels.numpy()
        accuracies.append((shares.argmax(1) == truth).mean())
        areas.append(roc_auc_score(truth == 1, shares[:, 1]))
    accuracy, area = measured.figures
    assert (accuracy.name, area.name) == ("few_label_accuracy", "few_label_auroc")
    assert accuracy.value == pytest.approx(np.mean(accuracies))
    assert area.value == pytest.approx(np.mean(areas))
    assert (accuracy.n, accuracy.interval) == (4, "draws")

    curve = {row["labels_per_class"]: row for row in measured.tables["curve"]}
    assert list(curve) == [1, 3, 5], "500 are more than a class has"
    assert measured.notes[0].endswith("images to draw from, so 5 is last.")
    error = np.std(accuracies, ddof=1) / 2.0
    assert curve[3]["standard_error"] == pytest.approx(error)


def test_random_labels_give_chance(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    plan = evaluating_blobs(
        tmp_path,
        {"name": "few_label", "labels_per_class": 5, "curve": [], "draws": 10},
        labels=draw.integers(0, 3, 120),
        tested=np.arange(90) % 3,
    )
    (accuracy,) = plan.measure().figures
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low - 0.05 < 1 / 3 < accuracy.high + 0.05


def test_more_labels_than_the_smallest_class_has_are_refused_or_told(tmp_path: Path) -> None:
    """A class of the dataset may lose rows to the test, which is known only once it is planned."""
    settings = {"name": "few_label", "curve": [1, 5], "draws": 2}
    facts = made_up_facts(labels=("a", "b", "c"), label_rows=(50, 0, 40))
    spec = {"dataset": "x", "evaluation": settings | {"labels_per_class": 41}}
    with pytest.raises(SpecError, match="smallest class, 'c', has 40 labeled images") as refused:
        resolve(JobSpec.model_validate(spec), facts)
    assert refused.value.field == "evaluation.labels_per_class"
    settings["labels_per_class"] = 40
    measured = evaluating_blobs(tmp_path, settings, labels=np.arange(120) % 3).measure()
    assert (measured.signals, measured.figures) == ({}, ())
    assert "no figure for 40: lower `labels_per_class`. The curve ends at 5." in measured.notes[0]

"""The linear probe against scikit-learn, and lies that it must not tell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

from tests.support.trainer.evaluations import Evaluating, evaluating_blobs
from trainer.evaluators.base import Stopped
from trainer.schema.errors import SpecError

MEDICAL = {"name": "linear", "positive_label": "b", "threshold": {"specificity": 0.9}}
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def data_of(plan: Evaluating) -> tuple[Arrays, Arrays]:
    """Return features and labels of the bank and of the test rows."""
    rows = plan.evaluator.rows
    bank, test = (part.on_host(plan.bank(), "backbone") for part in (rows.bank, rows.test))
    return (
        (bank.features.double().numpy(), bank.labels.numpy()),
        (test.features.double().numpy(), test.labels.numpy()),
    )


def test_accuracy_is_that_of_scikit_learn_with_the_same_choice_of_c(tmp_path: Path) -> None:
    plan = evaluating_blobs(tmp_path, {"name": "linear"})
    (features, labels), (tested, truth) = data_of(plan)
    scaler = StandardScaler().fit(features)
    held_out = np.zeros(len(labels), bool)
    held_out[plan.evaluator.rows.validation.numpy()] = True
    assert held_out.sum() == len(labels) // 10

    def model(strength: float, mask: NDArray[np.bool_]) -> Any:  # noqa: ANN401
        fitted = LogisticRegression(C=strength, tol=1e-9, max_iter=5000)
        return fitted.fit(scaler.transform(features[mask]), labels[mask])

    losses = {
        strength: log_loss(
            labels[held_out],
            model(strength, ~held_out).predict_proba(scaler.transform(features[held_out])),
            labels=[0, 1, 2],
        )
        for strength in (0.01, 0.1, 1.0, 10.0)
    }
    best = min(losses, key=lambda strength: losses[strength])
    expected = model(best, np.ones(len(labels), bool)).predict(scaler.transform(tested))

    measured = plan.measure()
    assert measured.notes == (f"C = {best:g}, chosen on {held_out.sum()} of {len(labels)} rows.",)
    assert measured.signals["linear_top1"] == pytest.approx((expected == truth).mean())
    macro = f1_score(truth, expected, average="macro")
    assert measured.signals["linear_macro_f1"] == pytest.approx(macro)
    assert {"linear_top1", "linear_macro_f1", "linear_balanced_accuracy"} == set(measured.signals)
    assert sum(int(str(row["rows"])) for row in measured.tables["confusion"]) == len(truth)


def test_baselines_are_beside_the_figures(tmp_path: Path) -> None:
    plan = evaluating_blobs(tmp_path, MEDICAL)
    baselines = plan.baselines()
    assert {figure.features for figure in baselines.figures} == {
        *("raw input", "untrained encoder", "majority class"),
    }
    untrained = [each for each in baselines.figures if each.features == "untrained encoder"]
    figures = plan.measure().figures
    assert [each.value for each in untrained] == [each.value for each in figures]
    assert {row["features"] for row in baselines.tables["roc"]} == {
        *("raw input", "untrained encoder"),
    }


def test_a_test_dataset_sorted_by_class_loses_none(tmp_path: Path) -> None:
    tested = np.repeat(np.arange(3), 30)
    plan = evaluating_blobs(tmp_path, {"name": "linear", "test_rows": 9}, tested=tested)
    assert plan.evaluator.rows.test.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_random_labels_give_chance(tmp_path: Path) -> None:
    """The labels of the bank say nothing of those of the test rows."""
    draw = np.random.default_rng(0)
    plan = evaluating_blobs(
        tmp_path, {"name": "linear"}, labels=draw.integers(0, 3, 120), tested=np.arange(90) % 3
    )
    (top1, *_) = plan.measure().figures
    assert top1.low is not None
    assert top1.high is not None
    assert top1.low < 1 / 3 < top1.high


def test_other_test_labels_change_no_threshold(tmp_path: Path) -> None:
    """Nor do other test rows: the threshold is of validation rows alone."""
    labels = np.arange(120) % 3
    first = evaluating_blobs(tmp_path / "first", MEDICAL, labels=labels, tested=np.arange(60) % 3)
    permuted = np.random.default_rng(1).permutation(60) % 3
    second = evaluating_blobs(tmp_path / "second", MEDICAL, labels=labels, tested=permuted)
    one, other = first.measure(), second.measure()
    (row,), (changed,) = one.tables["at_threshold"], other.tables["at_threshold"]
    assert row["threshold"] == changed["threshold"]
    assert (row["rule"], row["validation_rows"]) == ("specificity 0.9", 12)
    assert one.signals["auroc"] != other.signals["auroc"]


def test_the_protocol_of_moco_is_that_of_torch(tmp_path: Path) -> None:
    """SGD with momentum on raw features, by torch.optim, in the same order of rows."""
    plan = evaluating_blobs(tmp_path, {"name": "linear", "protocol": "sgd", "lr": 0.1}, rows=60)
    (features, labels), _ = data_of(plan)
    from trainer.evaluators.labelled_rows import Labelled
    from trainer.evaluators.linear.probe import ProbeFit, _normal
    from trainer.rng.philox import permuted_rows
    from trainer.rng.seeds import derived_seed

    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    fitter = ProbeFit(plan.evaluator.spec, 3, plan.evaluator.classes.seed)
    probe = fitter(
        Labelled(inputs, targets), validation=plan.evaluator.rows.validation, bank=plan.bank()
    )
    layer = torch.nn.Linear(inputs.shape[1], 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(0.01 * _normal(3, inputs.shape[1], seed=plan.evaluator.classes.seed))
        layer.bias.zero_()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 80])
    key = derived_seed(plan.evaluator.classes.seed, "linear probe")
    for epoch in range(100):
        rows = permuted_rows(torch.arange(len(targets)), total=len(targets), seed=key, epoch=epoch)
        for batch in torch.split(rows, 256):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(inputs[batch]), targets[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    assert torch.allclose(probe.classifier.weights, layer.weight, atol=1e-9)
    assert torch.allclose(probe.classifier.bias, layer.bias, atol=1e-9)
    spread = 0.01 * _normal(300, 300, seed=1)
    assert float(spread.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(spread.std()) == pytest.approx(0.01, rel=0.01)


def test_a_fit_stops_when_told_to(tmp_path: Path) -> None:
    plan = evaluating_blobs(tmp_path, {"name": "linear"}, rows=60)
    asked = iter([False] * 6 + [True] * 1000)
    with pytest.raises(Stopped):
        plan.evaluator.measure(plan.bank(lambda: next(asked)))


@pytest.mark.parametrize("name", ["linear", "few_label"])
def test_a_label_that_the_dataset_lacks_is_refused_at_its_field(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no label 'sick'; its labels are a, b, c") as refused:
        evaluating_blobs(tmp_path, {"name": name, "positive_label": "sick"})
    assert refused.value.field == "evaluation.positive_label"

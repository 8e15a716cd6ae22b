"""Nearest neighbors and their baselines against scikit-learn, on rows cut out by numpy."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData, FeatureBank, Measured
from trainer.evaluators.knn.evaluator import Knn
from trainer.evaluators.runner import Evaluation, plan_evaluation
from trainer.methods.base import load_method
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.random_views import ImageViews
from trainer.modalities.image.spec import resolved_views
from trainer.optim.schedule import TrainingLength
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec

CPU = torch.device("cpu")


def accuracy(
    bank: tuple[NDArray[np.float64], NDArray[np.int64]],
    test: tuple[NDArray[np.float64], NDArray[np.int64]],
    k: int,
) -> float:
    oracle = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.1)
    )
    return float(oracle.fit(*bank).score(*test))


def evaluation_of(
    folder: Path, *, side_px: int, rows: int = 120
) -> tuple[ResolvedSpec, Evaluation, NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = blobs(rows, side_px=side_px, classes=3)
    labels[: rows // 3] = 0  # so that one class is the most frequent
    facts = write_pack(folder, images, labels, classes=("a", "b", "c"))
    sent = JobSpec.model_validate({"dataset": "x", "encoder": {"name": "small"}})
    spec = resolve(sent, facts).spec
    views = ImageViews(
        ImageAugmenter(resolved_views(spec), mean=facts.mean, std=facts.std, device=CPU)
    )
    data = EvaluationData(PackLoader(Pack.open(folder), device=CPU), None)
    plan = plan_evaluation(spec, data, views=views)
    return spec, plan, images, labels.astype(np.int64)


@pytest.mark.parametrize("side_px", [12, 64])
def test_baselines_are_those_of_scikit_learn(side_px: int, tmp_path: Path) -> None:
    """Raw input at 64 px is the mean of each 2 x 2 pixels."""
    spec, plan, images, labels = evaluation_of(tmp_path / "pack", side_px=side_px)
    (knn,) = plan.evaluators
    assert isinstance(knn, Knn)
    assert knn.spec.k is not None
    bank, test = knn.bank.rows.numpy(), knn.test.rows.numpy()
    assert len(test) == len(images) // 10
    assert not set(bank) & set(test)

    method = load_method(spec, partial(encoder_for, spec), bf16=False)
    results = plan.baselines(method, should_stop=lambda: False)
    assert results is not None
    found = results.signals
    assert found.keys() == {"knn_top1_raw", "knn_top1_untrained", "knn_top1_majority"}
    assert method.training, "it goes on training"

    pixels = images / 255.0
    pixels = (pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
    if side_px == 64:
        pixels = pixels.reshape(len(pixels), 32, 2, 32, 2, 3).mean((2, 4))
    raw, k = pixels.reshape(len(pixels), -1), knn.spec.k
    expected = accuracy((raw[bank], labels[bank]), (raw[test], labels[test]), k)
    assert found["knn_top1_raw"] == pytest.approx(expected)

    most = Counter(labels[bank].tolist()).most_common(1)[0][0]
    assert found["knn_top1_majority"] == pytest.approx(float((labels[test] == most).mean()))

    with torch.no_grad():
        views = plan.views.plain(knn.bank.source.raw(torch.arange(len(images)))).pixels
        features = method.encoder.eval()(views).flatten(1).numpy().astype(np.float64)
    untrained = accuracy((features[bank], labels[bank]), (features[test], labels[test]), k)
    assert found["knn_top1_untrained"] == pytest.approx(untrained)


def test_the_backbone_is_asked_unless_told_otherwise(tmp_path: Path) -> None:
    """The first figure of an untrained method is its baseline: same rows, same k, same feature."""
    spec, plan, *_ = evaluation_of(tmp_path / "pack", side_px=12)
    method = load_method(spec, partial(encoder_for, spec), bf16=False)
    figure = plan.run(method, should_stop=lambda: False)
    baselines = plan.baselines(method, should_stop=lambda: False)
    assert figure is not None
    assert baselines is not None
    assert figure.signals["knn_top1"] == baselines.signals["knn_top1_untrained"]


def test_nothing_is_measured_once_it_is_told_to_stop(tmp_path: Path) -> None:
    spec, plan, *_ = evaluation_of(tmp_path / "pack", side_px=12)
    method = load_method(spec, partial(encoder_for, spec), bf16=False)
    assert plan.baselines(method, should_stop=lambda: True) is None
    assert plan.run(method, should_stop=lambda: True) is None


@pytest.mark.parametrize(("labelled", "measured"), [(19, False), (20, True)])
def test_a_bank_needs_20_labelled_rows(labelled: int, measured: bool, tmp_path: Path) -> None:
    images, labels = blobs(40, side_px=12, classes=2)
    labels[labelled:] = -1
    facts = write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    spec = resolve(JobSpec(dataset="x"), facts).spec
    views = ImageViews(
        ImageAugmenter(resolved_views(spec), mean=facts.mean, std=facts.std, device=CPU)
    )
    with PackLoader(Pack.open(tmp_path / "pack"), device=CPU) as source:
        plan = plan_evaluation(spec, EvaluationData(source, None), views=views)
        assert len(plan.evaluators) == measured
        assert [text.partition(";")[0] for text in plan.not_measured] == [
            f"{labelled} of 40 rows have labels"
        ] * (not measured)


class Spread:
    """A second evaluator, of the rows that nearest neighbors classify."""

    name, every_epochs, has_baselines = "spread", 3, False

    def __init__(self, like: Knn) -> None:
        self.test = like.test

    def measure(self, bank: FeatureBank) -> Measured:
        return Measured({"spread": float(self.test.features(bank, "backbone").std())})

    def baselines(self, bank: FeatureBank) -> Measured:
        raise AssertionError(f"it has none, {bank}")


def test_evaluators_share_one_pass_of_the_same_rows(tmp_path: Path) -> None:
    spec, plan, *_ = evaluation_of(tmp_path / "pack", side_px=12)
    method = load_method(spec, partial(encoder_for, spec), bf16=False)
    passed: list[int] = []
    method.encoder.register_forward_hook(lambda *args: passed.append(len(args[2])))
    alone = plan.run(method, should_stop=lambda: False)
    rows = sum(passed)
    assert rows == 120, "every row once: those of the bank, and those to classify"

    (knn,) = plan.evaluators
    assert isinstance(knn, Knn)
    both = replace(plan, evaluators=(knn, Spread(knn))).run(method, should_stop=lambda: False)
    assert sum(passed) == 2 * rows
    assert alone is not None
    assert both is not None
    assert both.signals.keys() == {"knn_top1", "spread"}
    assert both.signals["knn_top1"] == alone.signals["knn_top1"]
    assert both.signals["spread"] > 0.0


def test_each_evaluator_is_due_at_its_own_epochs_and_all_at_the_end(tmp_path: Path) -> None:
    _, plan, *_ = evaluation_of(tmp_path / "pack", side_px=12)
    (knn,) = plan.evaluators
    assert isinstance(knn, Knn)
    spread = Spread(knn)
    plan = replace(plan, evaluators=(knn, spread))
    length = TrainingLength(epochs=5, steps_per_epoch=2)
    due = {step: plan.due_at(step, length=length).evaluators for step in range(11)}
    assert {step: one for step, one in due.items() if one} == {
        **dict.fromkeys((0, 2, 4, 8), (knn,)),
        **dict.fromkeys((6, 10), (knn, spread)),
    }

"""Geometry against the formulas in numpy, and as the evaluation of a job without labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.data.dataset_facts import made_up_facts
from tests.support.data.tiny_pack import blobs
from tests.support.trainer.evaluations import evaluating, labelled_pack
from trainer.evaluators.cosine import unit
from trainer.evaluators.geometry.evaluator import (
    alignment,
    instance_hits,
    uniformity_figure,
)
from trainer.evaluators.labelled_rows import TRAINED_ON
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec


def views(rows: int, *, noise: float, dim: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(0)
    first = draw.normal(size=(rows, dim))
    second = first + noise * draw.normal(size=(rows, dim))
    return unit(torch.tensor(first)), unit(torch.tensor(second))


def log_mean_potential(view: torch.Tensor) -> float:
    """The authors' uniform_loss: torch.pdist has the pairs i < j."""
    return float(torch.pdist(view).pow(2).mul(-2).exp().mean().log())


def test_alignment_and_uniformity_are_those_of_the_authors() -> None:
    first, second = views(60, noise=0.5)
    expected = (first - second).norm(dim=1).pow(2)
    np.testing.assert_allclose(alignment(first, second), expected, atol=1e-12)
    figure = uniformity_figure((first, second), seed=0, features="trained encoder")
    mean = (log_mean_potential(first) + log_mean_potential(second)) / 2
    assert figure.value == pytest.approx(mean, abs=1e-9)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high


def ranks(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[bool]:
    return [int(np.argmax(second @ row)) == number for number, row in enumerate(first)]


@pytest.mark.parametrize("noise", [0.3, 1.0, 50.0])
def test_an_instance_is_found_where_numpy_finds_it(noise: float) -> None:
    first, second = views(80, noise=noise)
    found = instance_hits(first, second)
    assert found.tolist() == ranks(first.numpy(), second.numpy())
    if noise == 50.0:
        assert int(found.sum()) < 8, "views that share nothing are found by chance"


def test_of_equal_views_the_first_row_is_found_alone() -> None:
    same = unit(torch.ones(9, 4))
    assert instance_hits(same, same).tolist() == [True] + [False] * 8
    figure = uniformity_figure((same, same), seed=0, features="raw input")
    assert figure.value == pytest.approx(0.0)


def test_a_job_without_labels_is_measured_and_says_that_its_rows_are_trained_on(
    tmp_path: Path,
) -> None:
    images, _ = blobs(50, side_px=12, classes=3)
    pack = labelled_pack(tmp_path / "pack", images, None)
    job = evaluating({"name": "geometry", "rows": 30}, pack)
    measured, baselines = job.measure(), job.baselines()
    assert measured.signals.keys() == {"alignment", "uniformity", "rankme", "instance_hit_at_1"}
    assert measured.notes == (TRAINED_ON,)
    assert measured.signals == job.measure().signals, "the views are the same in every round"
    assert baselines.signals["instance_hit_at_1_untrained"] == pytest.approx(
        measured.signals["instance_hit_at_1"]
    )
    assert 1.0 <= measured.signals["rankme"] <= 30.0
    assert {figure.features for figure in baselines.figures} == {"raw input", "untrained encoder"}
    assert all(figure.n == 30 for figure in measured.figures)


def test_the_rows_of_a_test_dataset_are_held_out(tmp_path: Path) -> None:
    images, _ = blobs(40, side_px=12, classes=3)
    packs = [labelled_pack(tmp_path / name, images, None) for name in ("pack", "test")]
    measured = evaluating({"name": "geometry"}, packs[0], test=packs[1]).measure()
    assert measured.notes == ()


def test_about_twenty_rounds_are_suggested() -> None:
    words = {"dataset": "x", "epochs": 410, "evaluation": {"name": "geometry"}}
    resolved = resolve(JobSpec.model_validate(words), made_up_facts(rows=1000))
    (own,) = resolved.spec.evaluators
    assert (own.name, own.every_epochs) == ("geometry", 20)
    assert resolved.reasons["evaluation.every_epochs"].startswith("about 20 rounds")

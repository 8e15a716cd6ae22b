"""Jobs of the benchmark of methods: the registry's methods are all measured, so each must start."""

import pytest

from benchmarks.suites.breadth.methods import CIFAR, DIGITS, Recipe, settings_of
from tests.support.data.dataset_facts import made_up_facts
from trainer.methods.registry import method_names
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

FACTS = made_up_facts(
    rows=1_600,
    labels=tuple(str(digit) for digit in range(10)),
    label_rows=(160,) * 10,
    side_px=8,
)


@pytest.mark.parametrize("recipe", [DIGITS, CIFAR], ids=["digits", "cifar10"])
@pytest.mark.parametrize("method", method_names())
def test_the_job_of_a_method_resolves_and_learns(method: str, recipe: Recipe) -> None:
    sent = JobSpec.model_validate({"dataset": "digits", **settings_of(method, recipe)})
    spec = resolve(sent, FACTS).spec

    assert spec.tasks, "the encoder learns from nothing"
    assert spec.epochs == recipe.epochs
    assert "knn" in {evaluator.name for evaluator in spec.evaluators}

"""Finetune jobs in words: what is filled in with which reason, and what is refused where."""

import json
from typing import Any

import pytest

from tests.support.data.dataset_facts import made_up_facts
from trainer.modalities.image.spec import image_views
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.cost import estimate
from trainer.spec.defaults import Resolved, resolve
from trainer.spec.job import JobSpec

LABELS: dict[str, Any] = {"rows": 300, "labels": ("a", "b", "c"), "label_rows": (100, 120, 80)}
INIT = {"weights": "mine"}


def sent(**words: Any) -> JobSpec:  # noqa: ANN401
    return JobSpec.model_validate_json(json.dumps({"dataset": "x", "kind": "finetune", **words}))


def resolved(facts: DatasetFacts | None = None, **words: Any) -> Resolved:  # noqa: ANN401
    return resolve(sent(**words), facts or made_up_facts(**LABELS))


def test_a_kind_is_enough() -> None:
    found = resolved()
    spec, reasons = found.spec, found.reasons
    assert (spec.method.name, spec.evaluators[0].name) == ("classification", "classifier")
    assert getattr(spec.method, "classes", None) == 3
    views = image_views(spec)
    assert (views.jitter_p, views.grey_p, views.blur_p, views.flip_p) == (0.0, 0.0, 0.0, 0.5)
    assert {"method.classes", "views.jitter_p", "views.crop_scale", "optim.lr"} <= set(reasons)
    assert (spec.batch_rows, spec.epochs) == (64, 200)
    again = resolve(JobSpec.model_validate_json(spec.model_dump_json()), made_up_facts(**LABELS))
    assert (again.spec, again.reasons) == (spec, {})


def test_parts_without_a_name_are_those_of_the_kind() -> None:
    spec = sent(method={"head": "mlp"}, evaluation={"every_epochs": 2})
    assert (spec.method.name, spec.evaluators[0].name) == ("classification", "classifier")
    named = JobSpec.model_validate({"dataset": "x", "method": {"name": "classification"}})
    assert (named.kind, named.uses_labels) == ("finetune", True)
    assert sent(evaluation=None).evaluation is None


def test_a_pretraining_job_says_nothing_of_its_kind() -> None:
    """Clients of before get back what they sent."""
    spec = JobSpec.model_validate({"dataset": "x"})
    assert spec.kind == "pretrain"
    assert json.loads(spec.model_dump_json(exclude_unset=True)) == {"dataset": "x"}


def test_a_pretrained_encoder_learns_more_gently() -> None:
    fresh, pretrained = resolved(), resolved(init_from=INIT)
    assert pretrained.spec.optim.lr == pytest.approx(fresh.spec.optim.lr / 3)
    assert "to keep what the encoder has learned" in pretrained.reasons["optim.lr"]
    frozen = resolved(init_from=INIT, method={"freeze": True})
    assert frozen.spec.optim.lr == fresh.spec.optim.lr


def test_drawn_labels_are_the_rows_of_an_epoch() -> None:
    """In the estimate and in the defaults: 15 images are one batch of 8."""
    found = resolved(method={"labels_per_class": 5})
    assert (found.spec.batch_rows, found.spec.epochs) == (8, 200)
    assert estimate(found.spec, made_up_facts(**LABELS)).steps == 200


@pytest.mark.parametrize(
    ("words", "facts", "field", "detail"),
    [
        ({}, {"labels": (), "label_rows": None}, "dataset", "this dataset has none"),
        ({}, {"label_rows": (0, 300, 0)}, "dataset", "all labeled images have the label 'b'"),
        ({"method": {"name": "moco"}}, {}, "method.name", "moco is for pretrain jobs"),
        ({"preset": "moco-v2"}, {}, "preset", "recipes of pretraining"),
        ({"positives": {"name": "label"}}, {}, "positives.name", "one view of each image"),
        ({"views": {"second": {"flip_p": 0.0}}}, {}, "views.second", "one view of each image"),
        ({"auxiliary": [{"name": "rotation"}]}, {}, "auxiliary", "learns labels alone"),
        ({"method": {"freeze": 3}, "epochs": 3}, {}, "method.freeze", "use true"),
        ({"method": {"classes": 2}}, {}, "method.classes", "the dataset has 3 labels"),
        ({"method": {"labels_per_class": 90}}, {}, "method.labels_per_class", "has 80 labeled"),
        ({"evaluation": {"positive_label": "d"}}, {}, "evaluation.positive_label", "no label 'd'"),
        ({"evaluation": {"threshold": "youden"}}, {}, "evaluation.threshold", "split val"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_field(
    words: dict[str, Any], facts: dict[str, Any], field: str, detail: str
) -> None:
    with pytest.raises(SpecError, match=detail) as raised:
        resolved(made_up_facts(**LABELS | facts), **words)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"kind": "pretrain", "method": {"name": "classification"}}, "method.name"),
        ({"evaluation": {"name": "classifier"}}, "evaluation.name"),
    ],
)
def test_parts_of_a_finetune_job_are_refused_elsewhere(words: dict[str, Any], field: str) -> None:
    spec = JobSpec.model_validate({"dataset": "x", **words})
    with pytest.raises(SpecError, match="finetune") as raised:
        resolve(spec, made_up_facts(**LABELS))
    assert raised.value.field == field


def test_colors_that_are_asked_for_stay() -> None:
    views = image_views(resolved(views={"jitter_p": 0.3}).spec)
    assert (views.jitter_p, views.grey_p) == (0.3, 0.0)

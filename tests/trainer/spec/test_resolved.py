"""A resolved spec: every value is there, and its JSON is that of the spec it came from."""

import json
from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.spec_members import beside
from trainer.methods.registry import method_names
from trainer.modalities.image.spec import resolved_views
from trainer.spec.added_fields import ADDED, settled
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec, as_resolved, resolved_part

CHOICES: list[dict[str, Any]] = [
    {"method": {"name": name}, "optim": {"name": optim}, "schedule": {"name": schedule}}
    | beside(name)
    for name in method_names()
    for optim in ("sgd", "adamw")
    for schedule in ("constant", "cosine", "steps")
]
CHOICES.append({"evaluation": [{"name": "knn"}]})
FACTS = made_up_facts(labels=("a", "b"))


def parts_of(value: Any) -> Iterator[BaseModel]:  # noqa: ANN401  # any field of a spec
    """Yield a spec and its parts, in the order of their fields."""
    if isinstance(value, BaseModel):
        yield value
        value = tuple(value.__dict__.values())
    if isinstance(value, tuple):
        for each in value:
            yield from parts_of(each)


def admits_none(part: BaseModel, name: str) -> bool:
    return NoneType in get_args(type(part).model_fields[name].annotation)


@pytest.mark.parametrize("choice", CHOICES, ids=json.dumps)
def test_no_class_of_a_resolved_spec_admits_none_where_a_rule_fills(choice: dict[str, Any]) -> None:
    # Stated, as a part that a rule makes as a whole has none beside it here.
    sent = JobSpec.model_validate({"dataset": "x", "views": {"second": {}}, **choice})
    resolved = resolve(sent, FACTS).spec
    assert isinstance(resolved, ResolvedSpec)
    filled = [
        (part, name)
        for before, part in zip(parts_of(sent), parts_of(resolved), strict=True)
        for name, value in part.__dict__.items()
        if before.__dict__[name] is None and value is not None
    ]
    names = {name for _, name in filled}
    of_method = {"temperature", "squared", "classes"} & type(sent.method).model_fields.keys()
    of_evaluator = {"every_epochs" if sent.kind == "finetune" else "k"}
    assert {"epochs", "lr", "warmup_from", "side_px", *of_evaluator, *of_method} <= names
    assert [
        f"{type(part).__name__}.{name}" for part, name in filled if admits_none(part, name)
    ] == []


def test_its_json_is_read_back_to_the_same() -> None:
    resolved = resolve(JobSpec(dataset="x"), FACTS).spec
    text = resolved.model_dump_json()
    stored = JobSpec.model_validate_json(text)
    assert stored.model_dump_json() == text
    assert as_resolved(stored) == resolved
    assert resolve(stored, FACTS).reasons == {}


def test_a_job_of_an_older_version_has_no_holes_once_settled() -> None:
    """Its fields that came later are not resolved anew: they keep the old meaning."""
    resolved = json.loads(resolve(JobSpec(dataset="x"), FACTS).spec.model_dump_json())
    for field, _ in ADDED:
        if ":" in field:
            continue  # of another method than this job's
        head, _, name = field.partition(".")
        (resolved[head] if name else resolved).pop(name or head)
    old = settled(JobSpec.model_validate(resolved, strict=False))
    assert as_resolved(old).order == 1
    assert resolved_views(as_resolved(old)).evaluation_crop == "square"


def test_a_hole_is_named() -> None:
    resolved = resolve(JobSpec(dataset="x"), FACTS).spec
    with pytest.raises(ValueError, match=r"JobSpec has no value for epochs, batch_rows"):
        as_resolved(JobSpec(**resolved.__dict__ | {"epochs": None, "batch_rows": None}))
    with pytest.raises(ValueError, match=r"SgdSpec has no value for lr, weight_decay"):
        resolved_part(JobSpec(dataset="x").optim)

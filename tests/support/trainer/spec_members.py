"""Members of the job spec, read from the spec itself: a new one joins the matrices unasked."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from trainer.modalities.image.augment.spec import OPTIONAL
from trainer.modalities.registry import DEFAULT, part_of
from trainer.spec.job import JobSpec

SMALL: dict[str, Any] = {"queue_rows": 25, "dim": 8, "bn_splits": 2, "predictor_hidden": 16}
"""Settings of a method for tiny jobs, for those methods that have them. In groups of two
rows instead of four, the gradient of a ResNet-50 in bfloat16 reaches 1e12."""

AUGMENTATIONS: dict[str, Any] = dict.fromkeys(OPTIONAL, 0.5)
"""Settings of views with every augmentation that is off by default."""


def methods() -> dict[str, dict[str, Any]]:
    """Every method by its name, as the JSON of a tiny job has it."""
    settings_by_name = {}
    for member in members(JobSpec.model_fields["method"].annotation):
        name = member.model_fields["name"].default
        settings = {key: value for key, value in SMALL.items() if key in member.model_fields}
        settings_by_name[name] = {"name": name, **settings}
    return settings_by_name


def learning_from(name: str) -> dict[str, Any]:
    """Settings of a tiny job of a method; with none, it learns from rotation."""
    return {"method": methods()[name], **beside(name)}


def beside(name: str) -> dict[str, Any]:
    """Settings that a method needs beside its own."""
    return {"auxiliary": [{"name": "rotation"}]} if name == "none" else {}


def smallest_encoders(modality: str = DEFAULT) -> tuple[str, ...]:
    """The smallest encoder of each family: the others repeat its blocks."""
    spec = part_of(modality, "spec")
    families = getattr(spec, "FAMILIES", None)
    names: tuple[str, ...] = spec.ENCODER_NAMES
    return tuple(family[0] for family in families.values()) if families else names


def optimizers() -> tuple[str, ...]:
    """The names of all optimizers."""
    specs = members(JobSpec.model_fields["optim"].annotation)
    return tuple(spec.model_fields["name"].default for spec in specs)


def precisions() -> tuple[str, ...]:
    """All precisions but the choice to choose."""
    named = get_args(JobSpec.model_fields["precision"].annotation)
    return tuple(name for name in named if name != "auto")


def members(annotation: object) -> Iterator[type[BaseModel]]:
    """The models of a field's type: the type itself, or all members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from members(inner)

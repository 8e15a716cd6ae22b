"""Spec without holes: what the trainer works with. Loads no tensors."""

import sys
from typing import Any, Literal, cast

from pydantic import BaseModel

from trainer.optim.spec import ResolvedOptimSpec, ResolvedScheduleSpec
from trainer.spec.job import JobSpec


class ResolvedSpec(JobSpec):
    """Settings of a job, each with a value. Its JSON is that of a JobSpec that states them all.

    A part with optional fields has a class of its own without None, named `Resolved` and the name
    of its class, in the same module. Parts that are chosen by name are narrowed by whoever chose
    them, such as `trainer.modalities.image.spec.resolved_views`.
    """

    epochs: int
    batch_rows: int
    order: Literal[1, 2]
    signals_every_steps: int
    optim: ResolvedOptimSpec
    schedule: ResolvedScheduleSpec


def as_resolved(spec: JobSpec) -> ResolvedSpec:
    """Return a spec whose every hole is filled as one that has none. Raises ValueError for a hole.

    Nothing is validated again: the values come from a validated spec and from rules.
    """
    parts = {name: resolved_part(value) for name, value in spec.__dict__.items()}
    return cast(ResolvedSpec, _made(ResolvedSpec, spec, parts))


def resolved_part(value: Any) -> Any:  # noqa: ANN401 - any field of a spec
    """Return a part as its `Resolved` class, if it has one. Raises ValueError for a hole."""
    if isinstance(value, tuple):
        return tuple(resolved_part(each) for each in value)
    if not isinstance(value, BaseModel):
        return value
    kind = type(value)
    resolved = getattr(sys.modules[kind.__module__], f"Resolved{kind.__name__}", None)
    return value if resolved is None else _made(resolved, value, value.__dict__)


def _made(kind: type[BaseModel], part: BaseModel, values: dict[str, Any]) -> BaseModel:
    holes = [name for name in kind.__annotations__ if values.get(name) is None]
    if holes:
        raise ValueError(f"{type(part).__name__} has no value for {', '.join(holes)}")
    return kind.model_construct(_fields_set=set(part.model_fields_set), **values)

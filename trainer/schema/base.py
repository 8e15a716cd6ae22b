"""The base of every word that crosses a border: frozen, closed, and strict about types."""

from collections.abc import Callable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Tag


class Record(BaseModel):
    """A value that travels as JSON. Unknown fields, NaN and strings for numbers are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Kept(Record):
    """Record on disk, possibly of a newer version: its unknown fields are kept."""

    model_config = ConfigDict(extra="allow")


def by_name(default: str) -> Callable[[object], object]:
    """Discriminate a union by `name`; without one the member is `default`."""

    def name_of(value: object) -> object:
        if isinstance(value, dict):
            return value.get("name", default)
        return getattr(value, "name", None)

    return name_of


def tags_of(union: Any) -> tuple[str, ...]:  # noqa: ANN401  # an annotated type
    """Return the tags of the members of a union that `by_name` tells apart, in their order."""
    members = get_args(get_args(union)[0]) or (union,)  # a union of one is its member
    marks = (mark for member in members for mark in get_args(member))
    return tuple(mark.tag for mark in marks if isinstance(mark, Tag))

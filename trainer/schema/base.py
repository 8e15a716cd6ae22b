"""The base of every word that crosses a border: frozen, closed, and strict about types."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Tag


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


def by_name(default: str, *, kind: str, names: tuple[str, ...]) -> Discriminator:
    """Discriminate a union by `name`; without one the member is `default`.

    An unknown name is refused with all `names` of that `kind`, such as a method.
    """

    def name_of(value: object) -> object:
        if isinstance(value, dict):
            return value.get("name", default)
        return getattr(value, "name", None)

    return Discriminator(
        name_of,
        custom_error_type=f"unknown_{kind}",
        custom_error_message=f"name must be {_either(names)}",
    )


def _either(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def tags_of(union: Any) -> tuple[str, ...]:  # noqa: ANN401  # a type
    """Return the tags of the members of a union that `by_name` tells apart, in their order."""
    marks = (mark for member in get_args(union) for mark in get_args(member))
    return tuple(mark.tag for mark in marks if isinstance(mark, Tag))

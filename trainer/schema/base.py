"""The base of every word that crosses a border: frozen, closed, and strict about types."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict


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

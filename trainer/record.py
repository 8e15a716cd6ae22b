"""The base of every word that crosses a border: frozen, closed, and strict about types."""

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

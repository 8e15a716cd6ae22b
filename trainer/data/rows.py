"""A row on its way from a file to a pack, as every modality decodes it."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, Self, TypeVar

Kind = Literal["uint8", "uint16", "int16", "wide"]
"""Value type of a file; `wide` stands for floats and 32-bit integers."""


class BadRow(Exception):
    """File that cannot be a row; the other files can."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Layout(NamedTuple):
    """Type and number of channels, the same for all rows of a pack."""

    kind: Kind
    channels: int

    @property
    def dtype(self) -> str:
        """Return the type of stored values."""
        return "uint8" if self.kind == "uint8" else "uint16"

    def words(self) -> str:
        """Return the layout in words, for a report."""
        values = {"wide": "32 bits or floats"}.get(self.kind, self.kind)
        return f"{self.channels} channel{'s' if self.channels > 1 else ''} of {values}"


class DecodedRow(Protocol):
    """A decoded row: its bytes, their shape, and what the report says of it."""

    @property
    def layout(self) -> Layout:
        """Type and number of channels of its values."""

    @property
    def shape(self) -> tuple[int, int]:
        """Two numbers that the index keeps with 16 bits each, such as height and width."""

    @property
    def stored(self) -> bytes:
        """Bytes that a pack keeps of it."""

    def digest(self) -> bytes:
        """Return the hash that rows share exactly when they are the same."""

    def pages(self) -> tuple[Self, ...]:
        """Return all rows of its file, itself first."""

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yield reason and detail of each line that the report holds about it."""


Row = TypeVar("Row", bound=DecodedRow)
"""Decoded row of one modality."""

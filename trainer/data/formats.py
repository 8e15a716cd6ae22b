"""Description of a modality's files, which readers take as an argument."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from trainer.data.readers.items import Limits, Listing, Source, suffix_of
from trainer.schema.choices import SourceFormat


class Words(NamedTuple):
    """Names of a row in messages."""

    one: str
    """Such as `image`."""
    a: str
    """With its article, such as `an image`."""
    many: str
    """Such as `images`."""
    content: str
    """Values that equal rows share, such as `pixels`."""


class ArrayRows(Protocol):
    """Splits an array into rows."""

    def __call__(
        self, array: NDArray[Any], name: str, limits: Limits, *, alone: bool
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the rows of an array with a name for each. Raises DataError.

        `alone`: the array is the whole dataset, so it holds several rows.
        """


class ArrayFormat(NamedTuple):
    """Rows in arrays of numpy."""

    rows: ArrayRows
    hint: str
    """Next step for a user whose array cannot be read."""


class TableFormat(NamedTuple):
    """Rows in a column of bytes of a parquet file."""

    names: tuple[str, ...]
    """Usual names of the column, the first one best."""
    feature: str
    """Type of the column in the metadata of Hugging Face."""
    hint: str
    """Next step for a user whose table cannot be read."""


class DatasetFormat(Protocol):
    """Format of files of many rows that one modality alone has, such as idx for images."""

    @property
    def name(self) -> SourceFormat:
        """Name of the format."""

    def matches(self, first: bytes) -> bool:
        """Return whether a file that begins with these bytes is one."""

    def open(
        self, path: Path, limits: Limits, roots: tuple[Path, ...]
    ) -> AbstractContextManager[Source]:
        """Open the rows of a file. Raises DataError."""

    def open_inside(self, listing: Listing, limits: Limits) -> Source | None:
        """Return the rows of such a file in a listing, None without one. Raises DataError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormats:
    """File formats of one modality."""

    words: Words
    suffixes: frozenset[str]
    """Suffixes of files. The content, not the name, decides whether a file can be read."""
    format_of: Callable[[bytes], str | None]
    """Names the format of a file by its first bytes; None if they are those of none."""
    describe: Callable[[bytes], str]
    """Says what the first bytes of any other file seem to be."""
    arrays: ArrayFormat
    tables: TableFormat
    datasets: tuple[DatasetFormat, ...]
    sources_hint: str
    """Next step for a user whose source is of no known format."""

    def has_row_suffix(self, name: str) -> bool:
        """Return whether a file's name ends as those of rows do."""
        return suffix_of(name) in self.suffixes

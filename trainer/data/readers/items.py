"""Items that a source yields to the ingest: rows to decode and rejected files."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from numpy.typing import NDArray

from trainer.data.readers.item_names import shown_name
from trainer.data.readers.regions import Region
from trainer.data.spec import USUAL, IngestOptions
from trainer.schema.errors import DataError
from trainer.schema.events import DataWarning

if TYPE_CHECKING:
    from trainer.data.labels.classes import ClassNames

Reason = Literal[
    "unreadable",
    "truncated",
    "wrong_type",
    "oversize",
    "duplicate",
    "empty",
    "refused",
    "other_depth",
    "other_channels",
    "truncated_kept",
    "pages_left_out",
    "missing_file",
    "unlisted",
    "bad_cell",
    "bad_mask",
]
REASONS: tuple[str, ...] = get_args(Reason)
KEPT = frozenset({"truncated_kept", "pages_left_out", "bad_cell", "bad_mask"})
"""Reasons in the report of files that did become rows, though not whole."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}

Content = bytes | NDArray[Any]
"""Bytes of a file, or one row of an array."""
ARCHIVE_SUFFIXES = ("zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on an archive or a folder."""

    total_bytes: int = USUAL.total_bytes_max
    entry_bytes: int = USUAL.file_bytes_max
    entries: int = USUAL.entries_max
    pixels: int = USUAL.pixels_max
    ratio: int = USUAL.ratio_max
    """Unpacked bytes for each packed byte."""
    ratio_from_bytes: int = 1024**2
    """Size above which the compression ratio is limited; small flat images compress well."""
    name_bytes: int = 255
    seconds: int = USUAL.seconds_max
    end_s: float = math.inf
    """Deadline of the whole ingest, on the monotonic clock."""

    def started(self) -> "Limits":
        """Return the limits of a reading that begins now."""
        return replace(self, end_s=time.monotonic() + self.seconds)

    def check_time(self, name: str) -> None:
        """Raise DataError once the source `name` has taken too long."""
        if time.monotonic() > self.end_s:
            raise DataError(
                f"{name} takes longer to read than seconds_max, {self.seconds} s.",
                hint="Raise seconds_max, or send it in parts.",
            )

    @classmethod
    def of(cls, options: IngestOptions) -> "Limits":
        """Return the limits that a user may set, as `options` has them."""
        return cls(
            total_bytes=options.total_bytes_max,
            entry_bytes=options.file_bytes_max,
            entries=options.entries_max,
            pixels=options.pixels_max,
            ratio=options.ratio_max,
            seconds=options.seconds_max,
        )


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that is no row, for the report."""

    name: str
    reason: str
    detail: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file of a folder or an archive."""

    name: str
    size_bytes: int
    load: Callable[[], bytes]
    """Return the bytes.

    Raises BadRow if the file is damaged, DataError if the archive's sizes are wrong.
    """
    region: Callable[[], AbstractContextManager[Region]]
    """Opens it as a file, without its bytes in memory. Raises as `load` does."""


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be."""

    name: str
    size_bytes: int
    content: Callable[[], Content]
    """Return what the row is decoded from. Raises BadRow or DataError."""
    label: int = -1
    split: Split | None = None
    """Split of the row; None: training."""
    sequence: str | None = None
    """Group of related rows, such as a camera, a patient or a film."""
    time: float | None = None
    """Time of the row in its sequence, in seconds or any other unit."""
    pair: str | None = None
    """Name that the rows of a pair share."""
    mask: Callable[[], bytes] | None = None
    """Return the image file of the row's mask. Raises BadRow or DataError."""


@dataclass(frozen=True, slots=True)
class Source:
    """All rows of a dataset, in their order."""

    items: Iterator[Item | BadFile]
    bytes_total: int
    classes: "ClassNames"
    """Names of the items' labels; complete once all items were given."""
    warnings: list[DataWarning] = field(default_factory=list)
    """Told with the dataset; may grow until the last item was given."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a folder or an archive, read on demand."""

    names: list[str]
    bytes_total: int
    """Total size of the readable files."""
    entries: Callable[[], Iterator[Entry | BadFile]]
    """Iterate over every file in row order; callable once."""
    read: Callable[[Collection[str]], Iterator[Entry | BadFile]]
    """Iterate over the named files; load each before advancing to the next."""
    streamed: bool = False
    """True if an entry must be loaded before advancing to the next."""


class Hostile(DataError):
    """An archive that could escape its folder or grow past the limits: it is refused whole."""


def refused(archive: str, name: str, why: str, *, then: str) -> Hostile:
    """Return the error of an archive that must not be read. `then` is the next step."""
    return Hostile(f"{archive} is refused: its entry '{shown_name(name)}' {why}.", hint=then)


def split_named(word: str) -> Split | None:
    """Return the split that `word` names in a table or a file's name, or None."""
    return SPLIT_WORDS.get(word.strip().lower())


def suffix_of(name: str) -> str:
    """Return what follows the last dot of a file's name, in small letters; empty without one."""
    base = name.rsplit("/", 1)[-1].lower()
    return base.rsplit(".", 1)[-1] if "." in base else ""

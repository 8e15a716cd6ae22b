"""What a source gives to the ingest: rows to decode, and files that are no rows."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from trainer.data.images import decode_file
from trainer.data.rows import BadImage, Decoded
from trainer.errors import DataError
from trainer.events import DataWarning
from trainer.ingest_options import USUAL, IngestOptions

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
]
REASONS: tuple[str, ...] = get_args(Reason)
KEPT = frozenset({"truncated_kept", "pages_left_out"})
"""Reasons in the report of files that did become rows, though not whole."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}

SUFFIXES = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "ppm", "pgm", "pbm", "pnm", "bmp"),
        *("tif", "tiff", "webp", "gif", "avif", "jp2", "j2k", "jpf", "heic", "heif", "hif"),
        *("dcm", "dicom"),
    )
)
"""Of images. A name never decides whether a file is one: its content does."""
ARCHIVE_SUFFIXES = ("zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar")
LITTER = {"__macosx", "thumbs.db", "desktop.ini"}
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive or a folder may cost before it is refused."""

    total_bytes: int = USUAL.total_bytes_max
    entry_bytes: int = USUAL.file_bytes_max
    entries: int = USUAL.entries_max
    pixels: int = USUAL.pixels_max
    ratio: int = USUAL.ratio_max
    """Unpacked bytes for each packed byte."""
    ratio_from_bytes: int = 1024**2
    """Below this size a high ratio does no harm: small flat images have it."""
    name_bytes: int = 255

    @classmethod
    def of(cls, options: IngestOptions) -> "Limits":
        """Return the limits that a user may set, as `options` has them."""
        return cls(
            total_bytes=options.total_bytes_max,
            entry_bytes=options.file_bytes_max,
            entries=options.entries_max,
            pixels=options.pixels_max,
            ratio=options.ratio_max,
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
    """Raises BadImage if this file is damaged, DataError if the archive lies."""


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be."""

    name: str
    size_bytes: int
    decode: Callable[[IngestOptions], Decoded]
    """Raises BadImage or DataError."""
    label: int = -1
    split: Split | None = None
    """What the row is for; None: training."""
    sequence: str | None = None
    """What rows that belong together share, such as a camera, a patient or a film."""
    time: float | None = None
    """Of the row in its sequence, in seconds or any other unit."""
    mask: Callable[[], bytes] | None = None
    """Gives the image file of the row's mask. Raises BadImage or DataError."""


@dataclass(frozen=True, slots=True)
class Source:
    """All rows of a dataset, in their order."""

    items: Iterator[Item | BadFile]
    bytes_total: int
    classes: tuple[str, ...] | None = None
    """Of the items' labels; None where folder names may tell them."""
    warnings: list[DataWarning] = field(default_factory=list)
    """Told with the dataset; may grow until the last item was given."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder or an archive; nothing is read yet."""

    names: list[str]
    bytes_total: int
    entries: Callable[[], Iterator[Entry | BadFile]]
    streamed: bool = False
    """Whether an entry can only be loaded before the next one is asked for."""


def refused(archive: str, name: str, why: str, *, then: str) -> DataError:
    """The error of an archive that must not be read. `then` is the next step."""
    return DataError(f"{archive} is refused: its entry {name[:300]!r} {why}.", hint=then)


def name_fault(name: str, limits: Limits) -> str | None:
    """What is wrong with the name of an archive's entry, or None."""
    if CONTROL.search(name):
        return "has a control character in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/") or DRIVE.match(name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "points out of its folder with '..'"
    if len(name.encode("utf-8", "replace")) > limits.name_bytes:
        return f"has a path longer than {limits.name_bytes} bytes"
    return None


def split_named(word: str) -> Split | None:
    """The split that a table or a container calls `word`, or None if that names none."""
    return SPLIT_WORDS.get(word.strip().lower())


def tidy(name: str) -> str:
    """A name without empty parts and dots: `./a//b.png` is `a/b.png`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def is_hidden(name: str) -> bool:
    """Files that systems leave behind and nobody meant to send."""
    parts = name.lower().split("/")
    return any(part.startswith(".") or part in LITTER for part in parts)


def suffix_of(name: str) -> str:
    """Return what follows the last dot of a file's name, in small letters; empty without one."""
    base = name.rsplit("/", 1)[-1].lower()
    return base.rsplit(".", 1)[-1] if "." in base else ""


def is_named_as_image(name: str) -> bool:
    """Return whether a file's name ends as those of images do."""
    return suffix_of(name) in SUFFIXES


def image_items(listing: Listing, limits: Limits) -> Iterator[Item | BadFile]:
    """The rows of a listing of image files."""
    for entry in listing.entries():
        if is_hidden(entry.name):
            continue
        yield entry if isinstance(entry, BadFile) else _item(entry, listing.streamed, limits)


def _item(entry: Entry, streamed: bool, limits: Limits) -> Item | BadFile:
    name, size_bytes = entry.name, entry.size_bytes
    if suffix_of(name) in ARCHIVE_SUFFIXES:
        return BadFile(name, "wrong_type", "archives inside archives are never opened", size_bytes)
    if size_bytes > limits.entry_bytes and not is_named_as_image(name):
        return BadFile(name, "wrong_type", "its name is not that of an image", size_bytes)
    if size_bytes > limits.entry_bytes:
        detail = f"{size_bytes} bytes; file_bytes_max is {limits.entry_bytes}"
        return BadFile(name, "oversize", detail, size_bytes)
    if not size_bytes:
        return BadFile(name, "empty", "the file has no bytes")
    load = entry.load
    if streamed:
        try:
            data = load()
        except BadImage as bad:
            return BadFile(name, bad.reason, bad.detail, size_bytes)
        load = lambda: data  # noqa: E731 - binds what was read now
    return Item(name, size_bytes, lambda options: decode_file(load(), options))

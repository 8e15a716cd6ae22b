"""Rows of a folder or an archive: files, arrays, tables, and nested archives one level deep."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainer.data.formats import FileFormats
from trainer.data.labels.annotations import NOTHING, Annotations, annotate, split_in
from trainer.data.labels.classes import ClassNames
from trainer.data.labels.tables import Annotation
from trainer.data.readers.item_names import is_hidden
from trainer.data.readers.items import (
    ARCHIVE_SUFFIXES,
    BadFile,
    Entry,
    Hostile,
    Item,
    Limits,
    Listing,
    Split,
    suffix_of,
)
from trainer.data.readers.npy import (
    array_item,
    labels_beside,
    mapped_array,
    read_labels,
)
from trainer.data.readers.parquet import parquet_items
from trainer.data.readers.regions import Region, spooled
from trainer.data.readers.stream import stream_of
from trainer.data.readers.tar import BLOCK_BYTES, looks_like_tar, tar_listing
from trainer.data.readers.zip import looks_like_zip, zip_listing
from trainer.data.rows import BadRow
from trainer.schema.errors import DataError

ARCHIVES = (
    ".zip", ".npz", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tzst",
    ".tar.zst",
)  # fmt: skip
NESTED_TWICE = "archives are opened one level deep"
UNLISTED = "the table beside it does not name it"
NO_ARCHIVE = "it is packed in a way that is not read"


@dataclass(slots=True)
class Reading:
    """State that all parts of one source share while it is read."""

    formats: FileFormats
    limits: Limits
    kept_open: ExitStack
    """Closes what rows are read from, once all of them were."""
    scratch: Path | None = None
    """Folder for what must be unpacked to be read; None: the system's."""
    masks: str | None = None
    """Name of the folder of masks."""
    classes: ClassNames = field(default_factory=ClassNames)
    nested_bytes: int = 0
    """Unpacked bytes of archives inside the source so far."""
    nested_entries: int = 0
    """Files in them."""

    def spend(self, listing: Listing, archive: str) -> None:
        """Count what an archive inside holds. Raises Hostile past the limits."""
        self.nested_bytes += listing.bytes_total
        self.nested_entries += len(listing.names)
        for name, spent, limit in (
            ("total_bytes_max", self.nested_bytes, self.limits.total_bytes),
            ("entries_max", self.nested_entries, self.limits.entries),
        ):
            if spent > limit:
                raise Hostile(
                    f"{archive} brings the source to {spent}; {name} is {limit}.",
                    hint=f"Raise {name}, or send it in parts.",
                )


def listing_items(
    listing: Listing, reading: Reading, *, inside: str | None = None, split: Split | None = None
) -> Iterator[Item | BadFile]:
    """Yield the rows of a listing. `inside` is the name of a nested archive within the source.

    Items of a nested archive hold their bytes, because the archive is closed afterwards.
    """
    if inside is None:
        yield from _Contents(listing, reading, inside, split, reading.kept_open).items()
        return
    with ExitStack() as kept_open:
        for result in _Contents(listing, reading, inside, split, kept_open).items():
            yield replace(result, name=f"{inside}/{result.name}")


@dataclass(slots=True)
class _Contents:
    listing: Listing
    reading: Reading
    inside: str | None
    split: Split | None
    kept_open: ExitStack
    notes: Annotations = field(default_factory=Annotations)
    masks: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    labels_of: dict[str, str] = field(default_factory=dict)
    """Names of arrays of labels, by those of their images."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Classes in arrays, by the name of the array of labels."""
    are_split: bool = False
    """True if names of files tell splits, that of training among them."""

    def _prepare(self) -> None:
        """Read the labels of the rows."""
        names = [name for name in self.listing.names if not is_hidden(name)]
        reading = self.reading
        self.notes = annotate(
            self.listing, reading.limits, formats=reading.formats, masks=reading.masks
        )
        if self.inside is not None and self.notes.are_samples:
            self.reading.classes.folders_tell = False  # Names of shards are no classes.
        self._open_masks()
        self._read_arrays([name for name in names if name.lower().endswith(".npy")])
        splits = {split_in(_stem(name)) for name in names if _holds_several(name)}
        self.are_split = "train" in splits and len(splits) > 1

    def items(self) -> Iterator[Item | BadFile]:
        self._prepare()
        yield from self.notes.lines
        for entry in self.listing.entries():
            if is_hidden(entry.name) or entry.name in self.notes.used:
                continue
            if isinstance(entry, BadFile):
                yield entry
            elif _holds_several(entry.name):
                yield from self._guarded(entry)
            else:
                yield self._file(entry)

    def _file(self, entry: Entry) -> Item | BadFile:
        annotation = self.notes.of(entry.name)
        if fault := _fault(entry, annotation, self.reading):
            return BadFile(entry.name, *fault, entry.size_bytes)
        load = entry.load
        if self.listing.streamed or self.inside is not None:
            try:
                data = load()
            except BadRow as bad:
                return BadFile(entry.name, bad.reason, bad.detail, entry.size_bytes)
            load = lambda: data  # noqa: E731 - binds what was read now
        return self._item(entry, load, annotation or NOTHING)

    def _item(self, entry: Entry, load: Callable[[], bytes], annotation: Annotation) -> Item:
        return Item(
            entry.name,
            entry.size_bytes,
            load,
            self.reading.classes.number(annotation.label),
            split=annotation.split or self.split,
            sequence=annotation.sequence,
            time=annotation.time,
            pair=annotation.pair,
            mask=self._mask(annotation.mask),
        )

    def _mask(self, name: str | None) -> Callable[[], bytes] | None:
        if name is None or (load := self.masks.get(name)) is None:
            return None
        if self.inside is None:
            return load
        data = load()
        return lambda: data

    def _guarded(self, entry: Entry) -> Iterator[Item | BadFile]:
        """Yield the rows of a file that holds several; report a damaged file."""
        split = split_in(_stem(entry.name)) if self.are_split else self.split
        try:
            with entry.region() as region:
                yield from self._several(entry, region, split)
        except Hostile:
            raise
        except BadRow as bad:
            yield BadFile(entry.name, bad.reason, bad.detail, entry.size_bytes)
        except DataError as error:
            yield BadFile(entry.name, "unreadable", error.detail, entry.size_bytes)

    def _several(
        self, entry: Entry, region: Region, split: Split | None
    ) -> Iterator[Item | BadFile]:
        name = entry.name.lower()
        if name.endswith(".npy"):
            yield from self._array(entry, region, split)
        elif name.endswith(".parquet"):
            self.reading.classes.folders_tell = False
            yield from parquet_items(
                region,
                self.reading.limits,
                formats=self.reading.formats,
                classes=self.reading.classes,
                split=split,
            )
        elif self.inside is not None and not name.endswith(".npz"):
            yield BadFile(entry.name, "wrong_type", NESTED_TWICE, entry.size_bytes)
        else:
            listing = _archive(region, self.reading)
            self.reading.spend(listing, entry.name)
            yield from listing_items(listing, self.reading, inside=_stem(entry.name), split=split)

    def _array(self, entry: Entry, region: Region, split: Split | None) -> Iterator[Item | BadFile]:
        arrays = self.reading.formats.arrays
        array = mapped_array(region, hint=arrays.hint)
        labels = self.labels.get(self.labels_of.get(entry.name, ""))
        annotation = self.notes.of(entry.name)
        rows = arrays.rows(array, entry.name, self.reading.limits, alone=False)
        if annotation is None:
            yield BadFile(entry.name, "unlisted", UNLISTED, entry.size_bytes)
            return
        if labels is not None and len(labels) != len(array):
            many = self.reading.formats.words.many
            detail = f"{len(labels)} labels for {len(array)} {many}: none of them is taken"
            yield BadFile(self.labels_of[entry.name], "wrong_type", detail)
            labels = None
        for row, (name, values) in enumerate(rows):
            label = labels[row] if labels is not None else annotation.label
            number = self.reading.classes.number(label)
            yield replace(
                array_item(name, values, label=number, split=annotation.split or split),
                sequence=annotation.sequence,
                time=annotation.time,
                pair=annotation.pair,
            )

    def _read_arrays(self, names: list[str]) -> None:
        self.labels_of = labels_beside(names)
        images_of = {labels: images for images, labels in self.labels_of.items()}
        if not images_of:
            return
        for entry in self.listing.read(set(images_of)):
            self.notes.used.add(entry.name)
            labels = (
                entry
                if isinstance(entry, BadFile)
                else read_labels(entry, images_of[entry.name], self.reading.limits)
            )
            if isinstance(labels, BadFile):
                self.notes.lines.append(labels)
            else:
                self.labels[entry.name] = labels

    def _open_masks(self) -> None:
        """Make masks readable in any order; those of a packed archive are unpacked first."""
        names = self.notes.masks
        if not names:
            return
        limit = self.reading.limits.entry_bytes
        spans: dict[str, tuple[int, int]] = {}

        def pieces() -> Iterator[bytes]:
            offset = 0
            for entry in self.listing.read(names):
                if isinstance(entry, Entry) and entry.size_bytes <= limit:
                    data = _loaded(entry)
                    spans[entry.name] = offset, len(data)
                    offset += len(data)
                    yield data

        if not self.listing.streamed:
            entries = [e for e in self.listing.read(names) if isinstance(e, Entry)]
            self.masks = {e.name: e.load for e in entries if e.size_bytes <= limit}
            return
        masks = spooled(pieces(), name="masks", scratch=self.reading.scratch)
        region = self.kept_open.enter_context(masks)
        self.masks = {
            name: lambda offset=offset, size=size: region.pread(offset, size)  # type: ignore[misc]
            for name, (offset, size) in spans.items()
        }


def _fault(entry: Entry, annotation: Annotation | None, reading: Reading) -> tuple[str, str] | None:
    """Return reason and detail of a rejected file; `annotation` is None if a full table omits it.

    Decoding finds out later if it can be read.
    """
    formats, limit = reading.formats, reading.limits.entry_bytes
    if suffix_of(entry.name) in ARCHIVE_SUFFIXES:
        return "wrong_type", NO_ARCHIVE
    if entry.size_bytes > limit and not formats.has_row_suffix(entry.name):
        return "wrong_type", f"its name is not that of {formats.words.a}"
    if annotation is None:
        return "unlisted", UNLISTED
    if entry.size_bytes > limit:
        return "oversize", f"{entry.size_bytes} bytes; file_bytes_max is {limit}"
    return None if entry.size_bytes else ("empty", "the file has no bytes")


def _loaded(entry: Entry) -> bytes:
    try:
        return entry.load()
    except BadRow:
        return b""


def _archive(region: Region, reading: Reading) -> Listing:
    first = region.pread(0, BLOCK_BYTES)
    if looks_like_zip(first):
        return zip_listing(region, reading.limits, scratch=reading.scratch)
    block = stream_of(region, reading.limits).read(BLOCK_BYTES)
    if looks_like_tar(block):
        return tar_listing(region, reading.limits, scratch=reading.scratch)
    raise DataError(f"{region.name} is neither a zip nor a tar.")


def _holds_several(name: str) -> bool:
    return name.lower().endswith((".npy", ".parquet", *ARCHIVES))


def _stem(name: str) -> str:
    lower = name.lower()
    ends = [end for end in (".npy", ".parquet", *ARCHIVES) if lower.endswith(end)]
    return name[: -len(max(ends, key=len))] if ends else name

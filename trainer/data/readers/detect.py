"""Detect the kind of dataset at a path, and read its rows."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.data.formats import FileFormats
from trainer.data.labels.classes import ClassNames
from trainer.data.readers.folder import NO_LINKS, Follow, open_folder
from trainer.data.readers.items import BadFile, Item, Limits, Listing, Source
from trainer.data.readers.listing import Reading, listing_items
from trainer.data.readers.npy import array_item, mapped_array
from trainer.data.readers.parquet import MAGIC as PARQUET_MAGIC
from trainer.data.readers.parquet import parquet_items
from trainer.data.readers.regions import open_region
from trainer.data.readers.stream import open_stream
from trainer.data.readers.tar import BLOCK_BYTES, looks_like_tar, tar_listing
from trainer.data.readers.zip import looks_like_zip, zip_listing
from trainer.schema.choices import SourceFormat
from trainer.schema.errors import DataError, DatasetMissing


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of one reading of a source."""

    formats: FileFormats
    format: SourceFormat = "auto"
    masks: str | None = None
    """Name of the folder of masks."""
    follow: Follow = NO_LINKS
    scratch: Path | None = None
    """Folder for what must be unpacked to be read; None: the system's."""


@contextmanager
def open_source(path: Path, limits: Limits, options: ReadOptions) -> Iterator[Source]:
    """Open the rows of a dataset.

    The format "auto" is detected from the first bytes. Raises DataError.
    """
    with ExitStack() as stack:
        try:
            kind = _kind(path, limits, options)
            if options.format not in ("auto", kind):
                detail = f"{path.name} was declared as {options.format}, but its content is {kind}."
                raise DataError(detail, hint="Use the format 'auto', or send the right file.")
            source = stack.enter_context(_opened(path, kind, limits, options))
        except FileNotFoundError as error:
            hint = "Check the path, then start again."
            raise DatasetMissing(f"{error.filename} does not exist.", hint=hint) from error
        except PermissionError as error:
            hint = "Make it readable for the worker's user, then add the dataset again."
            if error.errno == errno.EPERM:
                hint = "Use its current folder, inside a folder listed in MOCO_ALLOWED_ROOTS."
            raise DataError(
                f"{error.filename} cannot be read: {error.strerror}.", hint=hint
            ) from error
        yield source


@contextmanager
def _opened(path: Path, kind: str, limits: Limits, options: ReadOptions) -> Iterator[Source]:
    for dataset in options.formats.datasets:
        if kind == dataset.name:
            with dataset.open(path, limits, options.follow.roots) as source:
                yield source
            return
    if kind == "folder":
        with open_folder(path, limits, options.follow) as listing, ExitStack() as kept_open:
            yield _listed(listing, limits, options, kept_open)
        return
    with ExitStack() as kept_open:
        region = kept_open.enter_context(open_region(path, options.follow.roots))
        if kind == "npy":
            array = mapped_array(region, hint=options.formats.arrays.hint)
            rows = options.formats.arrays.rows(array, path.name, limits, alone=True)
            items: Iterator[Item | BadFile] = (array_item(name, values) for name, values in rows)
            yield Source(items, array.nbytes, ClassNames(folders_tell=False))
        elif kind == "parquet":
            classes = ClassNames(folders_tell=False)
            items = parquet_items(region, limits, formats=options.formats, classes=classes)
            yield Source(items, region.size_bytes, classes)
        else:
            opener = zip_listing if kind == "zip" else tar_listing
            yield _listed(
                opener(region, limits, scratch=options.scratch), limits, options, kept_open
            )


def _listed(listing: Listing, limits: Limits, options: ReadOptions, kept_open: ExitStack) -> Source:
    for dataset in options.formats.datasets:
        if (source := dataset.open_inside(listing, limits)) is not None:
            return source
    reading = Reading(
        options.formats, limits, kept_open, scratch=options.scratch, masks=options.masks
    )
    return Source(listing_items(listing, reading), listing.bytes_total, reading.classes)


def _kind(path: Path, limits: Limits, options: ReadOptions) -> str:
    roots, formats = options.follow.roots, options.formats
    if path.is_dir():
        return "folder"
    with open_region(path, roots) as region:
        first = region.pread(0, BLOCK_BYTES)
    if looks_like_zip(first):
        return "zip"
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    if first.startswith(PARQUET_MAGIC):
        return "parquet"
    with open_stream(path, limits, roots) as stream:
        block = stream.read(BLOCK_BYTES)
    for dataset in formats.datasets:
        if dataset.matches(block):
            return dataset.name
    if looks_like_tar(block):
        return "tar"
    raise _unrecognized(path.name, first if block else b"", formats)


def _unrecognized(name: str, first: bytes, formats: FileFormats) -> DataError:
    """Return the error of a file that begins with `first` and is no dataset."""
    words = formats.words
    if kind := formats.format_of(first):
        hint = f"Send a folder or an archive of many {words.many}."
        return DataError(f"{name} is a single {kind} {words.one}, not a dataset.", hint=hint)
    what = f"the content is {formats.describe(first)}" if first else "it is empty"
    return DataError(f"Unrecognized format of {name}: {what}.", hint=formats.sources_hint)

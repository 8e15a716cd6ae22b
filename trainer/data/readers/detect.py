"""Detect the kind of dataset at a path, and read its rows."""

import errno
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from trainer.data.labels.classes import ClassNames
from trainer.data.readers.folder import NO_LINKS, Follow, open_folder
from trainer.data.readers.items import BadFile, Item, Limits, Listing, Source, is_named_as_image
from trainer.data.readers.listing import Reading, listing_items
from trainer.data.readers.npy import array_item, array_items, mapped_array
from trainer.data.readers.parquet import MAGIC as PARQUET_MAGIC
from trainer.data.readers.parquet import parquet_items
from trainer.data.readers.regions import open_region
from trainer.data.readers.stream import Stream, open_stream
from trainer.data.readers.tar import BLOCK_BYTES, looks_like_tar, tar_listing
from trainer.data.readers.zip import zip_listing
from trainer.data.rows import BadImage
from trainer.modalities.image.arrays import idx_source, labels_name, open_idx
from trainer.modalities.image.formats.magic import format_of, words_for
from trainer.schema.choices import SourceFormat
from trainer.schema.errors import DataError, DatasetMissing

KINDS_HINT = (
    "Send a folder, zip, tar (.gz, .bz2, .xz, .zst), npz, npy, parquet or idx-ubyte file of images."
)
IDX_NAME = re.compile(r".*idx[134]-ubyte(\.gz)?$")


OTHER_IDX = "only the idx file of training images is read; add this one as another dataset"


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of one reading of a source."""

    format: SourceFormat = "auto"
    masks: str | None = None
    """Name of the folder of masks."""
    follow: Follow = NO_LINKS
    scratch: Path | None = None
    """Folder for what must be unpacked to be read; None: the system's."""


@contextmanager
def open_source(path: Path, limits: Limits, asked: Asked) -> Iterator[Source]:
    """Open the rows of a dataset.

    The format "auto" is detected from the first bytes. Raises DataError.
    """
    with ExitStack() as stack:
        try:
            kind = _kind(path, limits, asked.follow.roots)
            if asked.format not in ("auto", kind):
                detail = f"{path.name} was declared as {asked.format}, but its content is {kind}."
                raise DataError(detail, hint="Use the format 'auto', or send the right file.")
            source = stack.enter_context(_opened(path, kind, limits, asked))
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
def _opened(path: Path, kind: str, limits: Limits, asked: Asked) -> Iterator[Source]:
    if kind == "idx":
        with open_idx(path, limits, asked.follow.roots) as source:
            yield source
        return
    if kind == "folder":
        with open_folder(path, limits, asked.follow) as listing, ExitStack() as kept_open:
            yield _listed(listing, limits, asked, kept_open)
        return
    with ExitStack() as kept_open:
        region = kept_open.enter_context(open_region(path, asked.follow.roots))
        if kind == "npy":
            array = mapped_array(region)
            rows = array_items(array, path.name, limits, alone=True)
            items: Iterator[Item | BadFile] = (array_item(name, image) for name, image in rows)
            yield Source(items, array.nbytes, ClassNames(folders_tell=False))
        elif kind == "parquet":
            classes = ClassNames(folders_tell=False)
            items = parquet_items(region, limits, classes)
            yield Source(items, region.size_bytes, classes)
        else:
            opener = zip_listing if kind == "zip" else tar_listing
            yield _listed(opener(region, limits, scratch=asked.scratch), limits, asked, kept_open)


def _listed(listing: Listing, limits: Limits, asked: Asked, kept_open: ExitStack) -> Source:
    images = _idx_images(listing)
    if images is not None:
        return _idx_inside(listing, images, limits)
    reading = Reading(limits, kept_open, scratch=asked.scratch, masks=asked.masks)
    return Source(listing_items(listing, reading), listing.bytes_total, reading.classes)


def _kind(path: Path, limits: Limits, roots: tuple[Path, ...]) -> str:
    if path.is_dir():
        return "folder"
    with open_region(path, roots) as region:
        first = region.pread(0, BLOCK_BYTES)
    if first.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    if first.startswith(PARQUET_MAGIC):
        return "parquet"
    with open_stream(path, limits, roots) as stream:
        block = stream.read(BLOCK_BYTES)
    if block[:3] == b"\0\0\x08" and len(block) > 3 and 1 <= block[3] <= 4:
        return "idx"
    if looks_like_tar(block) or (not block.strip(b"\0") and len(block) == BLOCK_BYTES):
        return "tar"
    if kind := format_of(first):
        detail = f"{path.name} is a single {kind} image, not a dataset."
        raise DataError(detail, hint="Send a folder or an archive of many images.")
    what = f"the content is {words_for(first)}" if block else "it is empty"
    raise DataError(f"Unrecognized format of {path.name}: {what}.", hint=KINDS_HINT)


def _idx_images(listing: Listing) -> str | None:
    """Name of the idx file of images, in a listing that holds idx files and no image files."""
    idx_names = sorted(name for name in listing.names if IDX_NAME.match(name))
    if not idx_names or any(map(is_named_as_image, listing.names)):
        return None
    images = [name for name in idx_names if labels_name(name)]
    training = [name for name in images if "train" in name]
    return next(iter(training or images), None)


def _idx_inside(listing: Listing, images: str, limits: Limits) -> Source:
    """Rows of an idx file inside a folder or an archive."""
    labels = labels_name(images)
    wanted = {images, labels, f"{labels}.gz"}
    streams: dict[str, Stream] = {}
    for entry in listing.entries():
        if entry.name not in wanted:
            continue
        if isinstance(entry, BadFile) or entry.size_bytes > limits.entry_bytes:
            raise DataError(
                f"{entry.name} is damaged, or larger than file_bytes_max, {limits.entry_bytes}.",
                hint="Raise file_bytes_max, or send the file on its own.",
            )
        try:
            raw = io.BytesIO(entry.load())
        except BadImage as bad:
            raise DataError(f"{entry.name} cannot be read: {bad.detail}.") from bad
        streams[entry.name] = Stream(raw, archive=entry.name, limits=limits)
    numbers = streams.get(f"{labels}", streams.get(f"{labels}.gz"))
    source = idx_source(streams[images], numbers, limits=limits)
    others = [name for name in listing.names if labels_name(name) and name != images]
    lines = (BadFile(name, "refused", OTHER_IDX) for name in sorted(others))
    return replace(source, items=chain(lines, source.items))

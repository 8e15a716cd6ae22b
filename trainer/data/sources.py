"""Which kind of dataset a path is, and its rows."""

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainer.data.arrays import idx_source, labels_name, open_idx, open_npy
from trainer.data.folders import open_folder
from trainer.data.items import BadFile, Limits, Listing, Source, image_items, is_named_as_image
from trainer.data.rows import BadImage
from trainer.data.streams import GZIP_MAGIC, Stream, open_stream
from trainer.data.tars import BLOCK_BYTES, looks_like_tar, open_tar
from trainer.data.zips import open_zip
from trainer.errors import DataError, DatasetMissing
from trainer.spec import SourceFormat

KINDS_HINT = "Send a folder, zip, tar, tar.gz, idx-ubyte(.gz) or npy of images."
IDX_NAME = re.compile(r".*idx[134]-ubyte(\.gz)?$")


@contextmanager
def open_source(path: Path, kind: SourceFormat, limits: Limits) -> Iterator[Source]:
    """The rows of a dataset. `kind` "auto" looks at the first bytes. Raises DataError."""
    with ExitStack() as stack:
        try:
            found = _kind(path, limits)
            if kind not in ("auto", found):
                detail = f"{path.name} was announced as {kind}, but its content is {found}."
                raise DataError(detail, hint="Announce the format 'auto', or send the right file.")
            source = stack.enter_context(_opened(path, found, limits))
        except FileNotFoundError as error:
            raise DatasetMissing(f"{error.filename} is not there.") from error
        except PermissionError as error:
            hint = "Let the worker's user read it, then add the dataset again."
            raise DataError(f"{error.filename} may not be read.", hint=hint) from error
        yield source


@contextmanager
def _opened(path: Path, kind: str, limits: Limits) -> Iterator[Source]:
    if kind in ("idx", "npy"):
        with (open_idx if kind == "idx" else open_npy)(path, limits) as source:
            yield source
        return
    opener = {"folder": open_folder, "zip": open_zip, "tar": open_tar}[kind]
    with opener(path, limits) as listing:
        images = _idx_images(listing)
        if images is None:
            yield Source(items=image_items(listing, limits), bytes_total=listing.bytes_total)
        else:
            yield _idx_inside(listing, images, limits)


def _kind(path: Path, limits: Limits) -> str:
    if path.is_dir():
        return "folder"
    with path.open("rb") as raw:
        first = raw.read(8)
    if first.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    with open_stream(path, limits) as stream:
        block = stream.read(BLOCK_BYTES)
    if block[:3] == b"\0\0\x08" and len(block) > 3 and 1 <= block[3] <= 4:
        return "idx"
    if looks_like_tar(block) or (not block.strip(b"\0") and len(block) == BLOCK_BYTES):
        return "tar"
    packed = " packed by gzip" if first.startswith(GZIP_MAGIC) else ""
    what = f"begins with {block[:8]!r}{packed}" if block else "is empty"
    raise DataError(f"{path.name} is no dataset: it {what}.", hint=KINDS_HINT)


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
                hint="Raise file_bytes_max, or send the file by itself.",
            )
        try:
            raw = io.BytesIO(entry.load())
        except BadImage as bad:
            raise DataError(f"{entry.name} cannot be read: {bad.detail}.") from bad
        streams[entry.name] = Stream(raw, archive=entry.name, limits=limits)
    numbers = streams.get(f"{labels}", streams.get(f"{labels}.gz"))
    return idx_source(streams[images], numbers, limits=limits)

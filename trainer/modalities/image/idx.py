"""Images in idx-ubyte, MNIST's format, plain or packed."""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.classes import ClassNames
from trainer.data.readers.items import BadFile, Item, Limits, Listing, Source, suffix_of
from trainer.data.readers.npy import array_item
from trainer.data.readers.stream import Stream, open_stream
from trainer.data.rows import BadRow
from trainer.modalities.image.arrays import CHANNELS, check_sides
from trainer.modalities.image.formats.magic import SUFFIXES
from trainer.schema.choices import SourceFormat
from trainer.schema.errors import DataError

IDX_U8 = 0x08
IDX_IMAGES = re.compile(r"(.*)images([.-])idx[34]-ubyte(\.gz)?$")
"""Name pattern of idx image files with a label file next to them."""
IDX_NAME = re.compile(r".*idx[134]-ubyte(\.gz)?$")
IDX_HINT = "Send the idx3-ubyte file of images (labels are read from the file beside it)."
OTHER_IDX = "only the idx file of training images is read; add this one as another dataset"


class IdxFormat:
    """Idx files on their own, or in a folder or an archive without image files."""

    name: SourceFormat = "idx"

    def matches(self, first: bytes) -> bool:
        """Return whether a file that begins with these bytes is one."""
        return first[:3] == b"\0\0\x08" and len(first) > 3 and 1 <= first[3] <= 4

    @contextmanager
    def open(self, path: Path, limits: Limits, roots: tuple[Path, ...]) -> Iterator[Source]:
        """Open the rows of a file, with the labels beside it if there are any. Raises DataError."""
        with ExitStack() as stack:
            images = stack.enter_context(open_stream(path, limits, roots))
            labels = None
            for beside in _labels_beside(path):
                labels = stack.enter_context(open_stream(beside, limits, roots))
                break
            yield _source(images, labels, limits=limits)

    def open_inside(self, listing: Listing, limits: Limits) -> Source | None:
        """Return the rows of the training images in a listing, None without such a file."""
        images = _images_in(listing)
        return _source_inside(listing, images, limits) if images is not None else None


def _labels_name(images_name: str) -> str | None:
    """Return the name of the labels of such images, without `.gz`; None for other names."""
    match = IDX_IMAGES.match(images_name)
    return f"{match[1]}labels{match[2]}idx1-ubyte" if match else None


def _images_in(listing: Listing) -> str | None:
    """Return the name of the idx file of images, in a listing of idx files without image files."""
    idx_names = sorted(name for name in listing.names if IDX_NAME.match(name))
    if not idx_names or any(suffix_of(name) in SUFFIXES for name in listing.names):
        return None
    images = [name for name in idx_names if _labels_name(name)]
    training = [name for name in images if "train" in name]
    return next(iter(training or images), None)


def _source_inside(listing: Listing, images: str, limits: Limits) -> Source:
    """Return the rows of an idx file inside a folder or an archive."""
    labels = _labels_name(images)
    file_names = {images, labels, f"{labels}.gz"}
    streams: dict[str, Stream] = {}
    for entry in listing.entries():
        if entry.name not in file_names:
            continue
        if isinstance(entry, BadFile) or entry.size_bytes > limits.entry_bytes:
            raise DataError(
                f"{entry.name} is damaged, or larger than file_bytes_max, {limits.entry_bytes}.",
                hint="Raise file_bytes_max, or send the file on its own.",
            )
        try:
            raw = io.BytesIO(entry.load())
        except BadRow as bad:
            raise DataError(f"{entry.name} cannot be read: {bad.detail}.") from bad
        streams[entry.name] = Stream(raw, archive=entry.name, limits=limits)
    numbers = streams.get(f"{labels}", streams.get(f"{labels}.gz"))
    source = _source(streams[images], numbers, limits=limits)
    others = [name for name in listing.names if _labels_name(name) and name != images]
    lines = (BadFile(name, "refused", OTHER_IDX) for name in sorted(others))
    return replace(source, items=chain(lines, source.items))


def _source(images: Stream, labels: Stream | None, *, limits: Limits) -> Source:
    """Return the rows of an idx stream and of the stream of their labels. Raises DataError."""
    shape = _idx_shape(images)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in CHANNELS):
        raise _idx_error(images, f"it holds an array of shape {list(shape)}, not images")
    check_sides(images.archive, shape[1:3], limits)
    if shape[0] > limits.entries:
        raise _idx_error(images, f"it holds {shape[0]} rows; entries_max is {limits.entries}")
    numbers, names = _idx_labels(labels, shape[0])
    classes = ClassNames(folders_tell=False)
    classes.declare(names)
    return Source(
        items=_idx_items(images, shape, numbers),
        bytes_total=int(np.prod(shape, dtype=object)),
        classes=classes,
    )


def _idx_items(images: Stream, shape: tuple[int, ...], numbers: NDArray[Any]) -> Iterator[Item]:
    row_bytes = int(np.prod(shape[1:], dtype=object))
    for row in range(shape[0]):
        array = np.frombuffer(images.exactly(row_bytes), np.uint8).reshape(shape[1:])
        yield array_item(f"{row:09d}", array, label=int(numbers[row]))
    if images.read(1):
        raise _idx_error(images, "bytes follow its last row")


def _idx_shape(stream: Stream) -> tuple[int, ...]:
    zeros, kind, dimensions = struct.unpack(">HBB", stream.exactly(4))
    if zeros or kind != IDX_U8 or not 1 <= dimensions <= 4:
        raise _idx_error(stream, "it does not begin like an idx file of unsigned bytes")
    return struct.unpack(f">{dimensions}I", stream.exactly(4 * dimensions))


def _idx_labels(stream: Stream | None, rows: int) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return class numbers of the rows and class names; -1 and no names without a stream."""
    if stream is None:
        return np.broadcast_to(np.int64(-1), (rows,)), ()
    shape = _idx_shape(stream)
    if shape != (rows,):
        raise _idx_error(stream, f"it holds labels of shape {list(shape)} for {rows} images")
    values, numbers = np.unique(np.frombuffer(stream.exactly(rows), np.uint8), return_inverse=True)
    return numbers, tuple(str(value) for value in values)


def _labels_beside(path: Path) -> Iterator[Path]:
    name = _labels_name(path.name)
    for suffix in ("", ".gz"):
        if name and (path.parent / (name + suffix)).is_file():
            yield path.parent / (name + suffix)


def _idx_error(stream: Stream, why: str) -> DataError:
    return DataError(f"{stream.archive} cannot be read: {why}.", hint=IDX_HINT)

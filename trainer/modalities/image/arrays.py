"""Images in idx-ubyte, MNIST's format, plain or packed."""

import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.classes import ClassNames
from trainer.data.readers.items import Item, Limits, Source
from trainer.data.readers.stream import Stream, open_stream
from trainer.modalities.image.decode import decode_array
from trainer.schema.errors import DataError

CHANNELS = (1, 3, 4)
IDX_U8 = 0x08
IDX_IMAGES = re.compile(r"(.*)images([.-])idx[34]-ubyte(\.gz)?$")
"""Name pattern of idx image files with a label file next to them."""
IDX_HINT = "Send the idx3-ubyte file of images (labels are read from the file beside it)."


def labels_name(images_name: str) -> str | None:
    """Name of the labels of an idx file of images, without `.gz`; None if it has no such name."""
    found = IDX_IMAGES.match(images_name)
    return f"{found[1]}labels{found[2]}idx1-ubyte" if found else None


@contextmanager
def open_idx(path: Path, limits: Limits, roots: tuple[Path, ...] = ()) -> Iterator[Source]:
    """Rows of an idx file, with the labels beside it if there are any. Raises DataError."""
    with ExitStack() as stack:
        images = stack.enter_context(open_stream(path, limits, roots))
        labels = None
        for beside in _labels_beside(path):
            labels = stack.enter_context(open_stream(beside, limits, roots))
            break
        yield idx_source(images, labels, limits=limits)


def idx_source(images: Stream, labels: Stream | None, *, limits: Limits) -> Source:
    """Rows of an idx stream and of the stream of their labels. Raises DataError."""
    shape = _idx_shape(images)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in CHANNELS):
        raise _idx_error(images, f"it holds an array of shape {list(shape)}, not images")
    _check_sides(images.archive, shape[1:3], limits)
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
        yield _item(row, array, label=int(numbers[row]))
    if images.read(1):
        raise _idx_error(images, "bytes follow its last row")


def _idx_shape(stream: Stream) -> tuple[int, ...]:
    zeros, kind, dimensions = struct.unpack(">HBB", stream.exactly(4))
    if zeros or kind != IDX_U8 or not 1 <= dimensions <= 4:
        raise _idx_error(stream, "it does not begin like an idx file of unsigned bytes")
    return struct.unpack(f">{dimensions}I", stream.exactly(4 * dimensions))


def _idx_labels(stream: Stream | None, rows: int) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Class numbers of the rows and class names; -1 and no names without a stream."""
    if stream is None:
        return np.broadcast_to(np.int64(-1), (rows,)), ()
    shape = _idx_shape(stream)
    if shape != (rows,):
        raise _idx_error(stream, f"it holds labels of shape {list(shape)} for {rows} images")
    values, numbers = np.unique(np.frombuffer(stream.exactly(rows), np.uint8), return_inverse=True)
    return numbers, tuple(str(value) for value in values)


def _labels_beside(path: Path) -> Iterator[Path]:
    name = labels_name(path.name)
    for suffix in ("", ".gz"):
        if name and (path.parent / (name + suffix)).is_file():
            yield path.parent / (name + suffix)


def _idx_error(stream: Stream, why: str) -> DataError:
    return DataError(f"{stream.archive} cannot be read: {why}.", hint=IDX_HINT)


def _item(row: int, array: NDArray[Any], *, label: int = -1) -> Item:
    return Item(f"{row:09d}", array.nbytes, lambda options: decode_array(array, options), label)


def _check_sides(name: str, sides: tuple[int, ...], limits: Limits) -> None:
    height, width = sides
    if height * width > limits.pixels:
        raise DataError(
            f"{name} holds images of {height} x {width} pixels; pixels_max is {limits.pixels}.",
            hint="Raise pixels_max, or shrink the images first.",
        )

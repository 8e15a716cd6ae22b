"""Images in arrays of numpy: one array of many, a folder of arrays, or an npz of several."""

import os
import re
from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainer.data.readers.items import BadFile, Entry, Item, Limits, Split
from trainer.data.readers.regions import Region
from trainer.data.spec import CHANNELS_MAX
from trainer.modalities.image.decode import decode_array
from trainer.schema.errors import DataError

CHANNELS = (1, 3, 4)
HINT = "Save an array [N, H, W] or [N, H, W, 3] with numpy.save(..., allow_pickle=False)."
ONE_IMAGE = "one image? save [1, H, W, 3]"
IMAGES_WORD = re.compile(r"(?<![a-z])(images?|imgs?|x|data|pixels)(?![a-z])", re.IGNORECASE)
LABEL_WORDS = ("labels", "label", "y", "targets", "target")
HEADER_ERRORS = (
    ValueError, EOFError, OSError, SyntaxError, TypeError, RecursionError, MemoryError,
    OverflowError,
)  # fmt: skip


def mapped_array(region: Region) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped. Raises DataError; nothing is unpickled."""
    try:
        reader = region.reader()
        version = np.lib.format.read_magic(reader)
        parse = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = parse(reader)
        offset = reader.tell()
        size_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        if not size_bytes or min(shape, default=1) < 0:
            raise ValueError(f"it holds an array of shape {list(shape)}")
        if offset + size_bytes > region.size_bytes:
            raise ValueError("it ends too soon")
        with os.fdopen(os.dup(region.file), "rb") as file:
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            at = region.start + offset
            # A reader is enough for a map that is only read.
            array: NDArray[Any] = np.asarray(
                np.memmap(cast(Any, file), dtype, mode="r", offset=at, shape=shape, order=order)
            )
    except (*HEADER_ERRORS, KeyError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "its header is damaged"
        raise DataError(f"{region.name} cannot be read: {reason}.", hint=HINT) from error
    return array


def array_items(
    array: NDArray[Any], name: str, limits: Limits, *, alone: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the images of an array with a name for each row. Raises DataError.

    `alone`: the array is the whole dataset, so it holds several images; else an array of shape
    [H, W] or [H, W, 3] is one image.
    """
    images = _as_images(array, name, alone=alone)
    height, width = images.shape[1:3]
    if height * width > limits.pixels:
        raise DataError(
            f"{name} holds images of {height} x {width} pixels; pixels_max is {limits.pixels}.",
            hint="Raise pixels_max, or shrink the images first.",
        )
    if images.nbytes > limits.total_bytes:
        detail = f"{name} has {images.nbytes} bytes; total_bytes_max is {limits.total_bytes}."
        raise DataError(detail, hint="Raise total_bytes_max, or send it in parts.")
    if len(images) > limits.entries:
        detail = f"{name} holds {len(images)} rows; entries_max is {limits.entries}."
        raise DataError(detail, hint="Raise entries_max, or send it in parts.")
    for row, image in enumerate(images):
        is_only = array.ndim == images.ndim - 1 or (len(images) == 1 and not alone)
        yield name if is_only else f"{name}#{row}" if not alone else f"{row:09d}", image


def array_item(
    name: str, array: NDArray[Any], *, label: int = -1, split: Split | None = None
) -> Item:
    """Return the row of one image of an array."""
    return Item(
        name, array.nbytes, lambda options: decode_array(array, options), label, split=split
    )


def labels_beside(names: list[str]) -> dict[str, str]:
    """Return the names of arrays of labels by those of their images, as in MedMNIST's files.

    `train_images` has `train_labels`, `x_train` has `y_train`.
    """
    by_stem = {_stem(name).lower(): name for name in names}
    found = {}
    for stem, name in by_stem.items():
        for word in LABEL_WORDS:
            labels = by_stem.get(IMAGES_WORD.sub(word, stem, count=1))
            if labels not in (None, name):
                found[name] = str(labels)
                break
    return found


def read_labels(entry: Entry, images: str, limits: Limits) -> list[str] | BadFile:
    """Return the classes in an array of labels, or the line that says why there are none."""
    if entry.size_bytes > limits.entry_bytes:
        detail = f"{entry.size_bytes} bytes; file_bytes_max is {limits.entry_bytes}"
        return BadFile(entry.name, "oversize", detail)
    try:
        with entry.region() as region:
            array = mapped_array(region)
            if array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            if array.ndim != 1 or array.dtype.kind not in "iubU":
                detail = (
                    f"labels of {images}: {array.dtype} of shape {list(array.shape)}; one whole"
                    " number or word a row is read"
                )
                return BadFile(entry.name, "wrong_type", detail)
            return [str(value) for value in array.tolist()]
    except DataError as error:
        return BadFile(entry.name, "unreadable", error.detail)


def _as_images(array: NDArray[Any], name: str, *, alone: bool) -> NDArray[Any]:
    """Return it as [N, H, W] or [N, H, W, C]. Channels come last if both ends could be channels."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}, which is no number.", hint=HINT)
    shape = array.shape
    is_one = array.ndim == 2 or (array.ndim == 3 and shape[2] in CHANNELS)
    if is_one and not alone:
        return array[np.newaxis]
    if is_one:
        raise DataError(f"{name} has the shape {list(shape)}: {ONE_IMAGE}.", hint=HINT)
    is_first = array.ndim == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS
    if array.ndim == 3 or (array.ndim == 4 and 1 <= shape[3] <= CHANNELS_MAX and not is_first):
        return array
    if array.ndim == 4 and 1 <= shape[1] <= CHANNELS_MAX:
        return array.transpose(0, 2, 3, 1)
    raise DataError(f"{name} has the shape {list(shape)}, not that of images.", hint=HINT)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(".npy") else name

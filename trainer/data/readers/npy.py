"""Arrays of numpy: one array of many rows, a folder of arrays, or an npz of several."""

import os
import re
from tokenize import TokenError
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainer.data.readers.items import BadFile, Entry, Item, Limits, Split
from trainer.data.readers.regions import Region
from trainer.schema.errors import DataError

IMAGES_WORD = re.compile(r"(?<![a-z])(images?|imgs?|x|data|pixels)(?![a-z])", re.IGNORECASE)
LABEL_WORDS = ("labels", "label", "y", "targets", "target")
HEADER_ERRORS = (
    ValueError, EOFError, OSError, SyntaxError, TokenError, TypeError, RecursionError, MemoryError,
    OverflowError,
)  # fmt: skip


class BadArray(ValueError):
    """An array that is whole but of a kind that is not read."""


def mapped_array(region: Region, *, hint: str) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped. Nothing is unpickled.

    Raises DataError with `hint`, which says what arrays are read.
    """
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
            raise BadArray("it holds objects, not numbers")
        if not size_bytes or min(shape, default=1) < 0:
            raise BadArray(f"it holds an array of shape {list(shape)}")
        if offset + size_bytes > region.size_bytes:
            raise BadArray("it ends too soon")
        with os.fdopen(os.dup(region.file), "rb") as file:
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            at = region.start + offset
            # A reader is enough for a map that is only read.
            array: NDArray[Any] = np.asarray(
                np.memmap(cast(Any, file), dtype, mode="r", offset=at, shape=shape, order=order)
            )
    except (*HEADER_ERRORS, KeyError) as error:
        reason = str(error) if isinstance(error, BadArray) else "its header is damaged"
        raise DataError(f"{region.name} cannot be read: {reason}.", hint=hint) from error
    return array


def array_item(
    name: str, array: NDArray[Any], *, label: int = -1, split: Split | None = None
) -> Item:
    """Return the item of one row of an array."""
    return Item(name, array.nbytes, lambda: array, label, split=split)


def labels_beside(names: list[str]) -> dict[str, str]:
    """Return the names of arrays of labels by those of their images, as in MedMNIST's files.

    `train_images` has `train_labels`, `x_train` has `y_train`.
    """
    by_stem = {_stem(name).lower(): name for name in names}
    labels_of = {}
    for stem, name in by_stem.items():
        for word in LABEL_WORDS:
            labels = by_stem.get(IMAGES_WORD.sub(word, stem, count=1))
            if labels not in (None, name):
                labels_of[name] = str(labels)
                break
    return labels_of


def read_labels(entry: Entry, images: str, limits: Limits) -> list[str] | BadFile:
    """Return the classes in an array of labels, or the line that says why there are none."""
    if entry.size_bytes > limits.entry_bytes:
        detail = f"{entry.size_bytes} bytes; file_bytes_max is {limits.entry_bytes}"
        return BadFile(entry.name, "oversize", detail)
    try:
        with entry.region() as region:
            array = mapped_array(region, hint="")
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


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(".npy") else name

"""Header of a safetensors file, checked before anything uses its bytes. Loads no tensors.

The format: 8 bytes with the length of the header, the header as JSON (name -> dtype, shape and
where its bytes lie), then the bytes of each tensor, row-major, without gaps.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

HEADER_BYTES_MAX = 1 << 20
TENSORS_MAX, DIMENSIONS_MAX, NAME_MAX = 10_000, 8, 512
BYTES_OF = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1}
BYTES_OF |= {"U8": 1, "BOOL": 1}
"""Dtype -> bytes of an element."""
WEIGHTS_DTYPES = frozenset({"F32", "F16", "BF16", "I64"})
"""Dtypes of weights: floats, and the counters of batch norm."""
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


class BadHeader(ValueError):
    """File that is no valid safetensors file; the text says why."""


class TensorEntry(NamedTuple):
    """A tensor of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Offset of its first byte behind the header."""
    end: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor."""
        return self.end - self.start


class Header(NamedTuple):
    """The tensors of a file."""

    tensors: dict[str, TensorEntry]
    data_start: int
    """Offset of the first tensor's bytes in the file."""


def read_header(
    file: BinaryIO, *, size_bytes: int, dtypes: Iterable[str] = tuple(BYTES_OF)
) -> Header:
    """Return the header of an open file of `size_bytes` bytes.

    At most HEADER_BYTES_MAX are read. Raises BadHeader unless every tensor has one of `dtypes`, its
    bytes are as many as its shape says, and all of them fill the file without gap or overlap.
    """
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size_bytes <= _LENGTH_BYTES or not 0 < length <= size_bytes - _LENGTH_BYTES:
        raise BadHeader("it does not begin with the length of a safetensors header")
    if length > HEADER_BYTES_MAX:
        raise BadHeader(f"its header has {length} bytes; at most {HEADER_BYTES_MAX} are read")
    tensors = {
        name: _entry(name, value, frozenset(dtypes))
        for name, value in _parsed(file.read(length)).items()
        if name != _METADATA
    }
    _check_layout(tensors, size_bytes - _LENGTH_BYTES - length)
    return Header(tensors, _LENGTH_BYTES + length)


def header_bytes(tensors: Mapping[str, tuple[str, Sequence[int], int]]) -> bytes:
    """Return the header that the safetensors library writes for PyTorch.

    `tensors` are name -> dtype, shape and number of bytes, in the order of `in_file_order`.
    """
    entries: dict[str, Any] = {_METADATA: {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size_bytes) in tensors.items():
        start, end = end, end + size_bytes
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def in_file_order(tensors: Mapping[str, TensorEntry]) -> Iterator[tuple[str, TensorEntry]]:
    """Yield the tensors in the order in which the safetensors library writes them."""
    yield from sorted(tensors.items(), key=lambda item: (-BYTES_OF[item[1].dtype], item[0]))


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, BadHeader) else "its header is not valid JSON"
        raise BadHeader(reason) from None
    if not isinstance(value, dict):
        raise BadHeader("its header is no JSON object")
    if len(value) > TENSORS_MAX:
        raise BadHeader(f"it has {len(value)} tensors; at most {TENSORS_MAX} are read")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadHeader("its header has a name twice")
    return made


def _entry(name: str, value: object, dtypes: frozenset[str]) -> TensorEntry:
    """Return a tensor of the header. Raises BadHeader for values that no tensor can have."""
    label = repr(name[:80])
    if len(name) > NAME_MAX or not isinstance(value, dict) or value.keys() != _FIELDS:
        raise BadHeader(f"the entry of {label} is no tensor")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise BadHeader(f"{label} has the dtype {str(dtype)[:20]}; allowed: {_listed(dtypes)}")
    if not _are_sizes(shape) or len(shape) > DIMENSIONS_MAX:
        raise BadHeader(f"{label} has no valid shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise BadHeader(f"{label} has no valid data_offsets")
    if offsets[1] - offsets[0] != math.prod(shape) * BYTES_OF[dtype]:
        raise BadHeader(f"the bytes of {label} are not as many as its shape says")
    return TensorEntry(dtype, tuple(shape), *offsets)


def _listed(dtypes: frozenset[str]) -> str:
    return ", ".join(sorted(dtypes))


def _are_sizes(values: object) -> bool:
    """Return whether it is a list of integers from 0 to 2**63 - 1."""
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _check_layout(tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    """Raise BadHeader unless the tensors fill the bytes behind the header, one after the other."""
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            what = "overlap" if entry.start < end else "leave a gap before"
            raise BadHeader(f"the bytes of its tensors {what} {name[:80]!r}")
        end = entry.end
    if end != data_bytes:
        raise BadHeader(f"its tensors have {end} bytes, but {data_bytes} follow the header")

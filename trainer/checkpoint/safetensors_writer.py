"""A safetensors file as a stream of blocks: the state never exists twice in memory.

The format: 8 bytes with the length of the header, the header as JSON (name -> dtype, shape and
where its bytes lie), then the bytes of each tensor, row-major, without gaps.
"""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

BLOCK_BYTES = 1 << 20
_ALIGNED_BYTES = 8
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def blocks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file of named tensors of any shape, the same for equal tensors in any order or memory.

    A tensor that is contiguous on the CPU is not copied; it must not change meanwhile.
    """
    # Wide types first, so that each tensor begins where its type may begin.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    yield _header(tensors, names)
    for name in names:
        yield from _cut(tensors[name])


def size_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors, without the header."""
    return sum(tensor.nbytes for tensor in tensors.values())


def _header(tensors: Mapping[str, Tensor], names: list[str]) -> bytes:
    entries, end = {}, 0
    for name in names:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED_BYTES)
    return len(text).to_bytes(8, "little") + text


def _cut(tensor: Tensor) -> Iterator[memoryview]:
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    view = plain.numpy().data
    for start in range(0, len(view), BLOCK_BYTES):
        yield view[start : start + BLOCK_BYTES]

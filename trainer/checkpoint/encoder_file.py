"""The encoder of a checkpoint as `encoder.safetensors`: ranges of bytes of the checkpoint's file.

The bytes are those of the file that a run publishes. Loads no tensors, so that the API can serve
it: the work is bounded by the size of the encoder.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from trainer.util.safetensors_header import (
    BadHeader,
    Header,
    TensorEntry,
    header_bytes,
    in_file_order,
    read_header,
)

STATE = "state.safetensors"
METHOD, OPTIMIZER = "method.", "optimizer."
"""Prefixes of names in a checkpoint."""
FOLLOWERS = frozenset({"key", "target", "teacher"})
"""Towers of a method that follow another one by EMA: theirs is not the encoder to download."""
BLOCK_BYTES = 1 << 20
_OF_ENCODER = re.compile(r"method\.(\w+)\.encoder\.(.+)")


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """The encoder's file as a header and ranges of an open checkpoint file."""

    header: bytes
    ranges: tuple[tuple[int, int], ...]
    """(offset, bytes) in the checkpoint's file, in their order."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the encoder's file."""
        return len(self.header) + sum(size for _, size in self.ranges)

    def blocks(self, state: BinaryIO) -> Iterator[bytes]:
        """Yield the encoder's file. Raises BadHeader if the checkpoint's file is cut short."""
        yield self.header
        for offset, size in self.ranges:
            for start in range(0, size, BLOCK_BYTES):
                wanted = min(BLOCK_BYTES, size - start)
                block = os.pread(state.fileno(), wanted, offset + start)
                if len(block) != wanted:
                    raise BadHeader("the checkpoint is cut short")
                yield block

    def sha256(self, state: BinaryIO) -> str:
        """Return the sha256 of the encoder's file, in hex."""
        digest = hashlib.sha256()
        for block in self.blocks(state):
            digest.update(block)
        return digest.hexdigest()


def encoder_file(state: BinaryIO) -> EncoderFile:
    """Return the encoder's file of an open `state.safetensors`. Raises BadHeader."""
    header = read_header(state, size_bytes=os.fstat(state.fileno()).st_size)
    tensors = dict(in_file_order(_encoder_of(header)))
    return EncoderFile(
        header_bytes({name: (it.dtype, it.shape, it.size_bytes) for name, it in tensors.items()}),
        tuple((header.data_start + it.start, it.size_bytes) for it in tensors.values()),
    )


def _encoder_of(header: Header) -> dict[str, TensorEntry]:
    """Return the tensors of the encoder that learns by gradient, by their names in the encoder."""
    towers: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in header.tensors.items():
        if match := _OF_ENCODER.fullmatch(name):
            towers.setdefault(match[1], {})[match[2]] = entry
    learning = [tower for tower in towers if tower not in FOLLOWERS]
    if len(learning) != 1:
        raise BadHeader("the checkpoint does not hold one encoder that learns")
    return towers[learning[0]]

"""Streamed files are valid safetensors."""

import random

import pytest
import safetensors.torch
import torch
from torch import Tensor

from trainer.checkpoint import safetensors_writer


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(5, 3, 2, 2, generator=generator)
    return {
        "scalar": torch.tensor(7),
        "nhwc": weights.contiguous(memory_format=torch.channels_last),
        "turned": torch.randn(700, 900, generator=generator).t(),  # of several blocks
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(3, generator=generator).bfloat16(),
        "empty": torch.empty(0, 4),
        'odd "name"\n': torch.arange(5, dtype=torch.uint8),
    }


def test_safetensors_reads_what_was_written() -> None:
    data = b"".join(safetensors_writer.blocks(tensors()))
    read = safetensors.torch.load(data)
    assert read.keys() == tensors().keys()
    for name, value in tensors().items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_the_order_of_the_names_does_not_matter() -> None:
    items = list(tensors().items())
    random.Random(1).shuffle(items)
    assert b"".join(safetensors_writer.blocks(dict(items))) == b"".join(
        safetensors_writer.blocks(tensors())
    )


def test_no_block_is_large_and_plain_tensors_are_not_copied() -> None:
    value = torch.zeros(3, 1 << 20)
    _, *body = safetensors_writer.blocks({"x": value})
    assert {len(block) for block in body} == {safetensors_writer.BLOCK_BYTES}
    assert sum(map(len, body)) == value.nbytes == safetensors_writer.size_bytes({"x": value})
    value[0, 0] = 1.0
    assert bytes(body[0][:4]) == b"\x00\x00\x80?"  # seen through the block: 1.0 as float32


def test_an_unknown_type_is_no_silent_loss() -> None:
    with pytest.raises(KeyError):
        list(safetensors_writer.blocks({"x": torch.zeros(2, dtype=torch.complex64)}))

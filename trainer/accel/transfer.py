"""Copies of small tensors from the host to a device."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT_BYTES = 16
"""Each tensor of a packet starts at a multiple, so that any kernel can read it."""


def send_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return host tensors on a device, sent to a GPU by one copy from pinned memory.

    The host does not wait for the copy. On a CPU they are the tensors themselves.
    """
    if device.type == "cpu":
        return list(tensors)
    spaces = [-(-tensor.nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for tensor in tensors]
    packet = torch.empty(sum(spaces), dtype=torch.uint8, pin_memory=device.type == "cuda")
    for part, tensor in zip(packet.split_with_sizes(spaces), tensors, strict=True):
        _as(part, tensor).copy_(tensor)
    sent = packet.to(device, non_blocking=True)
    return [
        _as(part, like) for part, like in zip(sent.split_with_sizes(spaces), tensors, strict=True)
    ]


def _as(part: Tensor, like: Tensor) -> Tensor:
    """Return bytes as a tensor with type and shape of another."""
    return part[: like.nbytes].view(like.dtype).view(like.shape)

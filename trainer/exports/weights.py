"""Weights in the forms that people load."""

import io
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.exports.base import Export, write_file
from trainer.nn.timm_keys import LAYER_SCALE, timm_key
from trainer.schema.artifact_names import WEIGHTS


def files(_export: Export) -> dict[str, str]:
    """Return the files of the weights."""
    return {
        WEIGHTS: "the weights: fp32, keys of torchvision, of timm for a ViT",
        "encoder.pth": "the same weights for `torch.load(..., weights_only=True)`",
    }


def write(export: Export, folder: Path) -> None:
    """Write the weights."""
    state = plain_state(export.encoder)
    write_file(folder, WEIGHTS, safetensors_bytes(state))
    write_file(folder, "encoder.pth", torch_bytes(state))


def plain_state(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the state of an encoder: on the CPU, contiguous, floats in fp32."""
    return plain_tensors(encoder.state_dict())


def plain_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU, contiguous, floats in fp32."""
    return {
        key: (value.float() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in state.items()
    }


def timm_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of an encoder as timm's network of the same name has it."""
    return {
        timm_key(key): value.flatten() if key.endswith(LAYER_SCALE) else value
        for key, value in state.items()
    }


def safetensors_bytes(state: dict[str, Tensor]) -> bytes:
    """`encoder.safetensors`. One metadata key only: the order of several is not fixed."""
    return safetensors.torch.save(state, metadata={"format": "pt"})


def torch_bytes(state: dict[str, Tensor]) -> bytes:
    """`encoder.pth`: a plain dict of tensors, which `torch.load(weights_only=True)` takes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()

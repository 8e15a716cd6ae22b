"""Weights in the forms that people load."""

import io
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.nn.timm_keys import LAYER_SCALE, timm_key


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
    """Return a safetensors file. One metadata key only: the order of several is not fixed."""
    return safetensors.torch.save(state, metadata={"format": "pt"})


def torch_bytes(state: dict[str, Tensor]) -> bytes:
    """Return a plain dict of tensors as `torch.load(weights_only=True)` takes it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()

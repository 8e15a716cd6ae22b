"""The state of a run as a flat dict of tensors, and back."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.checkpoint import safetensors_writer
from trainer.checkpoint.encoder_file import METHOD, OPTIMIZER
from trainer.methods.base import Method
from trainer.schema.errors import DivergedError, SpecError

PIECE = 32_768
"""Elements up to which torch works in the calling thread alone."""


def collect(method: Method, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors that the next step depends on: encoders, buffers, negatives, optimizer.

    They are the run's own, and the next step changes them.
    """
    state = {f"{METHOD}{name}": value for name, value in method.state_dict().items()}
    for name, parameter in method.learning_parameters().items():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                state[f"{OPTIMIZER}{key}.{name}"] = value
    return state


def check_finite(state: Mapping[str, Tensor], *, step: int) -> None:
    """Raise DivergedError if a collected state is not finite: such a state is never kept.

    `step` is the number of steps done. In pieces that torch does not share out among threads:
    this runs beside training.
    """
    for value in state.values():
        if value.is_floating_point():
            flat = value.reshape(-1)
            for start in range(0, len(flat), PIECE):
                if not bool(flat[start : start + PIECE].isfinite().all()):
                    raise DivergedError(
                        f"The state is not finite after step {step}.", step=step + 1
                    )


def digest(state: Mapping[str, Tensor]) -> bytes:
    """Return the sha256 of a collected state: that of its file, 32 bytes."""
    sha256 = hashlib.sha256()
    for block in safetensors_writer.blocks(state):
        sha256.update(block)
    return sha256.digest()


def restore(state: Mapping[str, Tensor], method: Method, optimizer: torch.optim.Optimizer) -> None:
    """Put a collected state back, each tensor in the memory format of its parameter.

    Raises SpecError if the state belongs to another network.
    """
    own = {name.removeprefix(METHOD): value for name, value in state.items() if _of(METHOD, name)}
    try:
        method.load_state_dict(own)
    except RuntimeError as error:
        detail = "the checkpoints in this folder are of another network; choose another folder"
        raise SpecError(detail, field="encoder") from error
    parameters = method.learning_parameters()
    for name, value in state.items():
        if _of(OPTIMIZER, name):
            key, _, parameter_name = name.removeprefix(OPTIMIZER).partition(".")
            parameter = parameters[parameter_name]
            optimizer.state[parameter][key] = _like(parameter, value)


def _of(prefix: str, name: str) -> bool:
    return name.startswith(prefix)


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """`value` on the parameter's device. A fused optimizer walks both in one memory order."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)

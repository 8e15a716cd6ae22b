"""The state of a run as a flat dict of tensors, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.errors import DivergedError, SpecError
from trainer.method import Method

METHOD, OPTIMIZER = "method.", "optimizer."


def collect(method: Method, optimizer: torch.optim.Optimizer, *, step: int) -> dict[str, Tensor]:
    """All tensors that the next step depends on: encoders, buffers, negatives, optimizer.

    Raises DivergedError if one is not finite: such a state is never kept.
    """
    state = {f"{METHOD}{name}": value for name, value in method.state_dict().items()}
    for name, parameter in method.learning().items():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                state[f"{OPTIMIZER}{key}.{name}"] = value
    floats = [value for value in state.values() if value.is_floating_point()]
    if not bool(torch.stack([value.isfinite().all() for value in floats]).all()):
        raise DivergedError(step=step + 1, loss=float("nan"))
    return state


def restore(state: Mapping[str, Tensor], method: Method, optimizer: torch.optim.Optimizer) -> None:
    """Put a collected state back, each tensor in the memory format of its parameter.

    Raises SpecError if the state is that of another network.
    """
    own = {name.removeprefix(METHOD): value for name, value in state.items() if _of(METHOD, name)}
    try:
        method.load_state_dict(own)
    except RuntimeError as error:
        detail = "the checkpoints in this folder are of another network; choose another folder"
        raise SpecError(detail, field="encoder") from error
    parameters = method.learning()
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

"""Optimizers of a resolved spec, the clipping of gradients, and the rate of the next step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.optim.lars import MOMENTUM, Lars, TrustRule
from trainer.optim.spec import (
    ResolvedAdamSpec,
    ResolvedAdamWSpec,
    ResolvedLarsSpec,
    ResolvedOptimSpec,
)

UNDECAYED = frozenset({"pos_embed", "cls_token"})
"""Last parts of the names of parameters that are no matrices, whatever their shape."""


def make_optimizer(
    spec: ResolvedOptimSpec, parameters: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer of a resolved spec for parameters by name.

    Parameters that do not decay are a group of their own. State belongs to a parameter, not to a
    group, so a checkpoint fits whatever the groups are.
    """
    groups, weight_decay = _groups(spec, parameters), spec.weight_decay
    lr: float | Tensor = spec.lr
    on_gpu = any(parameter.is_cuda for parameter in parameters.values())
    if on_gpu:  # a captured step reads the rate from this tensor
        lr = torch.tensor(lr, device=next(iter(parameters.values())).device)
    if isinstance(spec, ResolvedLarsSpec):
        rule = TrustRule(spec.trust, spec.norm, clip=spec.clip, exclude_1d=spec.exclude_1d)
        return Lars(groups, lr=lr, momentum=spec.momentum, weight_decay=weight_decay, rule=rule)
    if isinstance(spec, ResolvedAdamSpec | ResolvedAdamWSpec):
        kind = torch.optim.AdamW if isinstance(spec, ResolvedAdamWSpec) else torch.optim.Adam
        betas = (spec.beta1, spec.beta2)
        return kind(groups, lr, betas, weight_decay=weight_decay, fused=True, capturable=on_gpu)
    return torch.optim.SGD(
        groups,
        lr=lr,
        momentum=spec.momentum,
        weight_decay=weight_decay,
        nesterov=spec.nesterov,
        fused=True,
    )


def _groups(
    spec: ResolvedOptimSpec, parameters: Mapping[str, nn.Parameter]
) -> list[dict[str, Any]]:
    def decays(name: str, parameter: Tensor) -> bool:
        """Return whether a parameter decays; a scalar, such as a temperature, never does."""
        return is_matrix(name, parameter) or (spec.decay == "all" and parameter.ndim > 0)

    decayed = [value for name, value in parameters.items() if decays(name, value)]
    rest = [value for name, value in parameters.items() if not decays(name, value)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter decays under `matrices`: no bias, norm, position or scalar."""
    return parameter.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED


def clip_gradients(optimizer: torch.optim.Optimizer, norm: float) -> None:
    """Scale all gradients down to an L2 norm of `norm` together. Waits for no device."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, norm)


def begin_late(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters that begin to learn after others a velocity of 0, as torch's SGD needs it.

    Its fused form takes a group at once, and refuses one in which some have a velocity. A first
    step from 0 is the first step of SGD.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        learning = [value for value in group["params"] if value.grad is not None]
        late = [value for value in learning if MOMENTUM not in optimizer.state[value]]
        if len(late) < len(learning):
            for value in late:
                optimizer.state[value][MOMENTUM] = torch.zeros_like(value)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr

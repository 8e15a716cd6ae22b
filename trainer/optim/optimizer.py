"""Optimizers, and the learning rate as a pure function of the step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trainer.optim.spec import AdamWSpec, ResolvedOptimSpec


def make_optimizer(
    spec: ResolvedOptimSpec, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer of a resolved spec. All parameters decay, as in the papers."""
    chosen, weight_decay = list(parameters), spec.weight_decay
    lr: float | Tensor = spec.lr
    on_gpu = any(parameter.is_cuda for parameter in chosen)
    if on_gpu:  # a captured step reads the rate from this tensor
        lr = torch.tensor(lr, device=chosen[0].device)
    if isinstance(spec, AdamWSpec):
        betas = (spec.beta1, spec.beta2)
        return torch.optim.AdamW(
            chosen, lr, betas, weight_decay=weight_decay, fused=True, capturable=on_gpu
        )
    return torch.optim.SGD(
        chosen,
        lr=lr,
        momentum=spec.momentum,
        weight_decay=weight_decay,
        nesterov=spec.nesterov,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr

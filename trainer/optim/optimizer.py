"""Optimizers, and the learning rate as a pure function of the step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.optim.spec import AdamWSpec, ConstantSpec, OptimSpec, ScheduleSpec, StepsSpec


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long a run is."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def make_optimizer(spec: OptimSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a resolved spec. Weight decay falls on every parameter, as in the papers."""
    chosen, weight_decay = list(parameters), spec.weight_decay or 0.0
    lr: float | Tensor = spec.lr or 0.0
    on_gpu = any(parameter.is_cuda for parameter in chosen)
    if on_gpu:  # a captured step reads the rate where it lies
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
    """The rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def lr_at(step: int, *, spec: ScheduleSpec, peak: float, horizon: Horizon) -> float:
    """The learning rate of a step in [0, horizon.steps).

    Warm-up rises by the step and counts as part of the epochs; a cosine then spans what is left.
    With `warmup_from` 1 its first step has 1 / warm-up steps of the peak, else 0. Per epoch, the
    epoch is a whole number, as in the authors' adjust_learning_rate, counted from `first_epoch`.
    """
    epoch = step / horizon.steps_per_epoch
    if epoch < spec.warmup_epochs:
        risen = (step + (spec.warmup_from or 0)) / horizon.steps_per_epoch
        return peak * min(1.0, risen / spec.warmup_epochs)
    if isinstance(spec, ConstantSpec):
        return peak
    whole_epoch = step // horizon.steps_per_epoch + spec.first_epoch
    if isinstance(spec, StepsSpec):
        return peak * spec.factor ** sum(whole_epoch >= fall for fall in spec.epochs)
    passed = epoch if spec.per == "step" else float(whole_epoch)
    share = max(0.0, passed - spec.warmup_epochs) / (horizon.epochs - spec.warmup_epochs)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))

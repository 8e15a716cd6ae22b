"""Schedules against the authors' adjust_learning_rate, written again here."""

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from trainer.optim.optimizer import make_optimizer, set_lr
from trainer.optim.schedule import TrainingLength, lr_at
from trainer.optim.spec import (
    ResolvedAdamWSpec,
    ResolvedConstantSpec,
    ResolvedCosineSpec,
    ResolvedLinearSpec,
    ResolvedSgdSpec,
    ResolvedStepsSpec,
)

HORIZON = TrainingLength(epochs=200, steps_per_epoch=7)


def test_cosine_per_epoch_is_version_2() -> None:
    """lr *= 0.5 * (1. + math.cos(math.pi * epoch / args.epochs))."""
    for step in range(HORIZON.steps):
        epoch = step // 7
        expected = 0.03 * 0.5 * (1.0 + math.cos(math.pi * epoch / 200))
        assert lr_at(
            step, spec=ResolvedCosineSpec(warmup_from=1), peak=0.03, length=HORIZON
        ) == pytest.approx(expected)


def test_steps_is_version_1() -> None:
    """for milestone in args.schedule: lr *= 0.1 if epoch >= milestone else 1."""
    for step in range(HORIZON.steps):
        lr = 0.03
        for milestone in (120, 160):
            lr *= 0.1 if step // 7 >= milestone else 1.0
        assert lr_at(
            step, spec=ResolvedStepsSpec(warmup_from=1), peak=0.03, length=HORIZON
        ) == pytest.approx(lr)


def test_warm_up_and_cosine_per_step_is_version_3() -> None:
    """Oracle with epoch + i / iters_per_epoch: linear to the peak, then half a cosine to 0."""
    spec = ResolvedCosineSpec(per="step", warmup_epochs=10.0, warmup_from=0)
    for step in range(HORIZON.steps):
        epoch = step / 7
        if epoch < 10:
            expected = 1.5 * epoch / 10
        else:
            expected = 1.5 * 0.5 * (1.0 + math.cos(math.pi * (epoch - 10) / (200 - 10)))
        assert lr_at(step, spec=spec, peak=1.5, length=HORIZON) == pytest.approx(expected)


def test_a_constant_rate_after_half_an_epoch_of_warm_up() -> None:
    spec = ResolvedConstantSpec(warmup_epochs=0.5, warmup_from=1)
    length = TrainingLength(epochs=2, steps_per_epoch=4)
    found = [lr_at(step, spec=spec, peak=2.0, length=length) for step in range(length.steps)]
    assert found == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_warm_up_through_the_whole_run() -> None:
    spec = ResolvedCosineSpec(warmup_epochs=2.0, warmup_from=1)
    length = TrainingLength(epochs=2, steps_per_epoch=2)
    found = [lr_at(step, spec=spec, peak=1.0, length=length) for step in range(4)]
    assert found == [0.25, 0.5, 0.75, 1.0]


def test_a_warm_up_is_that_of_torch() -> None:
    """LinearLR from 1 / n to 1 over n - 1 steps is (step + 1) / n of the peak."""
    weights = [nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(weights, lr=0.8)
    theirs = LinearLR(optimizer, start_factor=1 / 10, end_factor=1.0, total_iters=9)
    spec = ResolvedConstantSpec(warmup_epochs=2.0, warmup_from=1)
    for step in range(15):
        ours = lr_at(step, spec=spec, peak=0.8, length=TrainingLength(epochs=3, steps_per_epoch=5))
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("warmup_epochs", [0.1, 0.5, 1.3, 2.0])
def test_a_warm_up_never_stands_still_at_0_nor_passes_the_peak(
    per: Literal["epoch", "step"], warmup_epochs: float
) -> None:
    spec = ResolvedCosineSpec(per=per, warmup_epochs=warmup_epochs, warmup_from=1)
    length = TrainingLength(epochs=4, steps_per_epoch=7)
    rates = [lr_at(step, spec=spec, peak=1.0, length=length) for step in range(length.steps)]
    assert all(0.0 < rate <= 1.0 for rate in rates)
    rising = rates[: int(warmup_epochs * 7)]
    assert rising == sorted(rising)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """Return the rates of one of torch's schedulers, from a peak of 0.8."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.8)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_linear_and_cosine_to_a_floor_are_those_of_torch() -> None:
    length = TrainingLength(epochs=4, steps_per_epoch=5)
    for spec, theirs in (
        (
            ResolvedLinearSpec(lr_min=0.2, warmup_from=1),
            rates_of_torch(lambda it: LinearLR(it, 1.0, 0.25, total_iters=20), 20),
        ),
        (
            ResolvedCosineSpec(per="step", lr_min=0.2, warmup_from=1),
            rates_of_torch(lambda it: CosineAnnealingLR(it, 20, eta_min=0.2), 20),
        ),
    ):
        ours = [lr_at(step, spec=spec, peak=0.8, length=length) for step in range(20)]
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("warmup_from", [0, 1])
def test_linear_after_a_warm_up_in_steps(warmup_from: Literal[0, 1]) -> None:
    """Closed form: up to the peak in 7 steps, then down to the floor over the other 13."""
    spec = ResolvedLinearSpec(lr_min=0.1, warmup_steps=7, warmup_from=warmup_from)
    length = TrainingLength(epochs=4, steps_per_epoch=5)
    for step in range(20):
        rising = min(1.0, (step + warmup_from) / 7)
        falling = 0.1 + 0.9 * (20 - step) / 13
        expected = rising if step < 7 else falling
        assert lr_at(step, spec=spec, peak=1.0, length=length) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [ResolvedConstantSpec, ResolvedCosineSpec, ResolvedStepsSpec])
def test_a_warm_up_in_steps_is_that_of_its_epochs(
    schedule: type[ResolvedConstantSpec | ResolvedCosineSpec | ResolvedStepsSpec],
) -> None:
    length = TrainingLength(epochs=4, steps_per_epoch=5)
    steps, epochs = (
        schedule(warmup_from=1, warmup_steps=10),
        schedule(warmup_from=1, warmup_epochs=2),
    )
    for step in range(20):
        rate = lr_at(step, spec=steps, peak=1.0, length=length)
        assert rate == lr_at(step, spec=epochs, peak=1.0, length=length)


@pytest.mark.parametrize("channels_last", [False, True])
def test_fused_steps_equal_the_written_out_rule(channels_last: bool) -> None:
    """SGD with weight decay on all parameters: v <- 0.9 v + g + wd w; w <- w - lr v."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3).double()
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
    weights = [value.detach().clone() for value in layer.parameters()]
    speeds = [torch.zeros_like(value) for value in weights]
    spec = ResolvedSgdSpec(lr=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = make_optimizer(spec, dict(layer.named_parameters()))
    for step in range(4):
        set_lr(optimizer, 0.1 / (step + 1))
        optimizer.zero_grad()
        layer(torch.randn(2, 3, 5, 5, dtype=torch.float64)).square().sum().backward()
        for weight, speed, value in zip(weights, speeds, layer.parameters(), strict=True):
            assert value.grad is not None
            speed.mul_(0.9).add_(value.grad + 0.01 * weight)
            weight.sub_(0.1 / (step + 1) * speed)
        optimizer.step()
    for weight, value in zip(weights, layer.parameters(), strict=True):
        assert value.allclose(weight, rtol=1e-12)


def test_adamw_takes_its_own_words() -> None:
    layer = nn.Linear(2, 2)
    spec = ResolvedAdamWSpec(lr=0.5, beta1=0.8, beta2=0.95, weight_decay=0.3)
    group = make_optimizer(spec, dict(layer.named_parameters())).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.5, (0.8, 0.95), 0.3)

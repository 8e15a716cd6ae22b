"""Negatives of the batch and a learned temperature, against formulas written out in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.trainer.learner import Learner
from trainer.methods.base import StepOutput
from trainer.methods.moco.method import MoCo
from trainer.methods.moco.spec import LearnedTemperature, ResolvedMoCoSpec
from trainer.optim.schedule import TrainingLength
from trainer.optim.spec import ResolvedSgdSpec

BATCH, DIM, QUEUE = 6, 8, 10
LENGTH = TrainingLength(1, 8)
LR = 0.5
"""Rate of every step: a cosine falls between epochs, and there is one."""


def learner(**settings: Any) -> Learner:  # noqa: ANN401
    words = {"queue_rows": QUEUE, "momentum": 0.9, "temperature": 0.2, "head": "mlp", "bn": "plain"}
    spec = ResolvedMoCoSpec.model_validate(words | {"dim": DIM} | settings)
    return Learner(spec, ResolvedSgdSpec(lr=LR, momentum=0.0, weight_decay=0.1))


def views(step: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(step)
    first, second = torch.randn(2, BATCH, 3, 8, 8, dtype=torch.float64, generator=draw)
    return first, second


@pytest.mark.parametrize("symmetric", [False, True])
def test_keys_of_the_batch_are_negatives_of_other_rows(symmetric: bool) -> None:
    ours = learner(in_batch=True, symmetric=symmetric, mask_own_keys=False)
    for step in range(3):
        queue = ours.queue.clone()
        output = ours.step(*views(step), torch.arange(BATCH), step=step, length=LENGTH)
        wanted = torch.zeros((), dtype=torch.float64)
        halves = len(output.queries) // BATCH
        both = (each.chunk(halves) for each in (output.queries, output.keys))
        for queries, keys in zip(*both, strict=True):
            logits = queries @ torch.cat([keys, queue]).T / 0.2
            wanted += nn.functional.cross_entropy(logits, torch.arange(BATCH))
        torch.testing.assert_close(output.loss, wanted, rtol=1e-10, atol=0.0)


def test_a_learned_temperature_descends_without_decay_and_stays_in_bounds() -> None:
    ours = learner(temperature={"learned": 0.07})
    assert isinstance(ours.method, MoCo)
    assert ours.method.log_scale is not None
    scale = torch.tensor(math.log(1 / 0.07), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours.method.log_scale.detach(), scale.detach(), rtol=1e-6, atol=0.0)
    scale.data.copy_(ours.method.log_scale.detach())
    for step in range(8):
        rows, queue = torch.arange(BATCH) + BATCH * step, ours.queue.clone()
        output = ours.step(*views(step), rows, step=step, length=LENGTH)
        logits = scale.exp() * output.queries @ torch.cat([output.keys, queue]).T
        own, rest = logits[:, :BATCH].diagonal()[:, None], logits[:, BATCH:]
        target = torch.zeros(BATCH, dtype=torch.int64)
        loss = nn.functional.cross_entropy(torch.cat([own, rest], dim=1), target)
        torch.testing.assert_close(output.loss, loss.detach(), rtol=1e-10, atol=0.0)
        (gradient,) = torch.autograd.grad(loss, scale)
        with torch.no_grad():
            scale.copy_((scale - LR * gradient).clamp(0.0, math.log(100.0)))
        torch.testing.assert_close(ours.method.log_scale.detach(), scale.detach())
    assert 0.0 <= float(scale.detach()) <= math.log(100.0)


@pytest.mark.parametrize(("moved", "kept"), [(99.0, math.log(100.0)), (-3.0, 0.0)])
def test_a_temperature_out_of_bounds_is_clamped_after_the_step(moved: float, kept: float) -> None:
    ours = learner(temperature={"learned": 0.5})
    assert ours.method.log_scale is not None
    keys, rows = ours.queue[:BATCH].clone(), torch.arange(BATCH)
    with torch.no_grad():
        ours.method.log_scale.fill_(moved)
    ours.method.after_step(StepOutput(torch.zeros(()), keys, keys, rows, loss_terms=1))
    assert float(ours.method.log_scale.detach()) == pytest.approx(kept)


def test_the_temperature_of_a_spec_is_a_number_or_learned() -> None:
    spec = ResolvedMoCoSpec.model_validate(
        {"queue_rows": 4, "momentum": 0.9, "temperature": {"learned": 0.1}, "head": "mlp"}
    )
    assert spec.temperature == LearnedTemperature(learned=0.1)
    assert spec.start_temperature == 0.1
    with pytest.raises(ValueError, match="learned"):
        ResolvedMoCoSpec.model_validate(spec.model_dump() | {"temperature": {"learned": 0.001}})

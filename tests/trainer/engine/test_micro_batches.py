"""A batch in parts: the gradient of the whole batch where rows do not meet, else of the parts."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.learner import TwoLayers
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.engine.micro_batches import split
from trainer.engine.step import EagerStep
from trainer.methods.base import Method, StepOutput
from trainer.methods.moco.method import MoCo
from trainer.methods.moco.spec import ResolvedMoCoSpec
from trainer.methods.simclr.method import SimCLR
from trainer.methods.simclr.spec import ResolvedSimCLRSpec
from trainer.nn.views import Batch, Pixels
from trainer.optim.optimizer import make_optimizer
from trainer.optim.spec import ResolvedSgdSpec
from trainer.spec.job import JobSpec

ROWS, PARTS = 12, 3


def moco(*, symmetric: bool = False) -> Method:
    spec = ResolvedMoCoSpec(
        queue_rows=30,
        momentum=0.9,
        temperature=0.2,
        dim=8,
        head="mlp",
        bn="plain",
        shuffle_parts=1,
        symmetric=symmetric,
    )
    return MoCo(spec, TwoLayers(1), seed=3, bf16=False)


def simclr() -> Method:
    spec = ResolvedSimCLRSpec(temperature=0.5, dim=8)
    return SimCLR(spec, TwoLayers(1), bf16=False)


def batch_of(rows: int) -> Batch:
    numbers = torch.arange(rows)
    views = (Pixels(torch.randn(rows, 3, 6, 6).double()) for _ in range(2))
    return Batch((*views,), numbers, identities=numbers)


def executor(make: Callable[[], Method], *, parts: int) -> EagerStep:
    torch.manual_seed(5)
    method = make().double().eval()  # in training batch norm lets rows meet
    optim = ResolvedSgdSpec(lr=0.1, weight_decay=0.0)
    return EagerStep(method, make_optimizer(optim, method.trainable_parameters()), parts=parts)


def gradients(step: EagerStep) -> list[Tensor]:
    found = [value.grad for value in step.method.trainable_parameters().values()]
    return [value.clone() for value in found if value is not None]


def inputs(method: Method, parts: int) -> Tensor:
    rows = ROWS // parts
    draws = [method.random_inputs(rows, step=step) for step in range(parts)]
    return torch.stack(draws) if parts > 1 else draws[0]


@pytest.mark.parametrize("symmetric", [False, True])
def test_moco_in_parts_has_the_gradient_of_the_whole_batch(symmetric: bool) -> None:
    def make() -> Method:
        return moco(symmetric=symmetric)

    batch = batch_of(ROWS)
    whole, parted = executor(make, parts=1), executor(make, parts=PARTS)
    one = whole.gradient(batch, inputs(whole.method, 1))
    several = parted.gradient(batch, inputs(parted.method, PARTS))
    torch.testing.assert_close(several.loss, one.loss, rtol=1e-12, atol=0.0)
    for a, b in zip(gradients(parted), gradients(whole), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)
    assert several.identities.sort().values.equal(one.identities.sort().values)
    torch.testing.assert_close(by_identity(several), by_identity(one), rtol=1e-9, atol=0.0)


def by_identity(output: StepOutput) -> Tensor:
    """Return the keys in the order of their identities; each has stayed with its own."""
    return output.keys[output.identities.argsort(stable=True)]


def test_simclr_in_parts_has_the_mean_gradient_of_its_parts() -> None:
    batch = batch_of(ROWS)
    parted, alone = executor(simclr, parts=PARTS), executor(simclr, parts=1)
    output = parted.gradient(batch, inputs(parted.method, PARTS))
    sums: list[Tensor] = []
    losses = []
    for part in split(batch, PARTS):
        losses.append(alone.gradient(part, Tensor()).loss)
        own = gradients(alone)
        sums = [a + b for a, b in zip(sums, own, strict=True)] if sums else own
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    for a, b in zip(gradients(parted), sums, strict=True):
        torch.testing.assert_close(a, b / PARTS, rtol=1e-9, atol=1e-14)


def test_signals_of_simclr_are_those_of_a_part(tmp_path: Path) -> None:
    """Chance of a part: its loss has 2 x 4 - 1 candidates, not 2 x 8 - 1."""
    images, _ = blobs(16, side_px=8, classes=2)
    write_pack(tmp_path / "pack", images)
    words = {
        "dataset": "x",
        "epochs": 1,
        "batch_rows": 8,
        "encoder": {"name": "small"},
        "method": {"name": "simclr", "dim": 8},
        "optim": {"accumulate_steps": 2, "clip_norm": 0.5},
        "evaluation": None,
        "signals_every_steps": 1,
    }
    paths = RunPaths(tmp_path / "out", tmp_path / "pack")
    with build_run(
        JobSpec.model_validate(words), paths, device_config=DeviceConfig(device="cpu")
    ) as run:
        stepped = run.advance()
    assert stepped is not None
    assert stepped.signals["chance_loss"] == pytest.approx(math.log(7))

"""The switch of the fused kernels: off by itself, and on only where they can run."""

import shutil
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.data.tiny_pack import write_pack
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.accel import device as devices
from trainer.accel import ops
from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import availability, fused_batch_norm
from trainer.accel.device import (
    DeviceConfig,
    DeviceContext,
    asks_for_fused_kernels,
    deterministic_device,
)
from trainer.accel.ops import Accelerator
from trainer.data.pack.format import Pack
from trainer.engine import train as loop
from trainer.modalities.image.modality import MODALITY
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _able_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has all that the kernels need."""
    (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(availability, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(fused_batch_norm, "grouped_batch_norm", lambda x, *_, **__: x)


def problem() -> str:
    with pretend_gpu():
        return availability.fused_kernels_problem(GPU)


def test_nothing_is_wrong_where_a_kernel_has_run() -> None:
    assert problem() == ""


def test_the_first_thing_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object, **__: object) -> Tensor:
        raise RuntimeError("no such instruction\nand a trace")

    monkeypatch.setattr(fused_batch_norm, "grouped_batch_norm", fails)
    assert problem() == "Triton could not run a kernel: RuntimeError: no such instruction"
    with pretend_gpu():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        assert availability.fused_kernels_problem(GPU) == (
            "the GPU has compute capability 7.5, and the kernels need 8.0"
        )
    (tmp_path / "Python.h").unlink()
    assert "Python.h is missing" in problem()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "install gcc, or name a compiler in CC" in problem()
    monkeypatch.setattr(availability, "find_spec", lambda _: None)
    assert problem().startswith("Triton is not installed")


def test_a_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc-13")
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "cc-13" else None)
    assert problem() == ""


@pytest.mark.parametrize(
    ("device", "asked", "problem", "used"),
    [
        ("cuda", True, "", True),
        ("cuda", True, "no compiler", False),
        ("cuda", False, "", False),
        ("cpu", True, "", False),
    ],
)
def test_they_are_used_if_asked_for_and_possible(
    monkeypatch: pytest.MonkeyPatch, device: str, asked: bool, problem: str, used: bool
) -> None:
    """The fingerprint names them if they are used: bits differ."""
    monkeypatch.setattr(devices, "fused_kernels_problem", lambda _: problem)
    config = DeviceConfig(device=device, fused_kernels=asked)
    with pretend_gpu(), deterministic_device(config, precision="fp32") as context:
        assert context.fused_kernels is used
        assert context.fused_problem == problem
        assert ("fused_kernels" in context.backend_settings()) is used


@pytest.mark.parametrize(
    ("environment", "asks"),
    [
        ({}, False),
        ({"MOCO_FUSED_KERNELS": "0"}, False),
        ({"MOCO_FUSED_KERNELS": "1"}, True),
        ({"MOCO_FUSED_KERNELS": "True"}, True),
    ],
)
def test_they_are_off_unless_the_environment_asks(environment: dict[str, str], asks: bool) -> None:
    assert not DeviceConfig().fused_kernels
    assert asks_for_fused_kernels(environment) is asks


def test_the_user_is_told_why_they_are_not_used() -> None:
    context = SimpleNamespace(warning=None, fused_problem="no compiler")
    progress, evaluation = SimpleNamespace(differs=()), SimpleNamespace(not_measured=())
    views = SimpleNamespace(fallback_reason="no flips")
    run = SimpleNamespace(
        step=0, progress=progress, context=context, evaluation=evaluation, views=views
    )
    events: list[Any] = []
    loop._explain(cast(Any, run), events.append)
    message = "Fused GPU kernels were asked for and are not used: no compiler."
    slower = "Views are made without compiled code, more slowly: no flips."
    assert [event.message for event in events] == [message, slower]
    assert {event.level for event in events} == {"warning"}


@pytest.mark.parametrize("fuses", [True, False])
def test_the_accelerator_of_a_gpu_chooses_the_form(
    monkeypatch: pytest.MonkeyPatch, fuses: bool
) -> None:
    launched: list[Tensor] = []

    def launch(x: Tensor, norm: GroupedBatchNorm, *, added: Tensor | None) -> Tensor:
        del norm, added
        launched.append(x)
        return x

    monkeypatch.setattr(fused_batch_norm, "grouped_batch_norm", launch)
    with pretend_gpu():
        weight, bias, mean, variance = torch.ones((4, 3), device=GPU)
        norm = GroupedBatchNorm(weight, bias, mean, variance, 2, momentum=0.1, eps=1e-5, relu=True)
        x = torch.ones((4, 3, 2, 2), device=GPU)
        ops.grouped_batch_norm(x, norm, accelerator=Accelerator() if fuses else None)
    assert len(launched) == fuses


@pytest.mark.parametrize(("channels", "is_given"), [(3, True), (1, False)])
def test_a_job_on_rgb_images_is_given_them(tmp_path: Path, channels: int, is_given: bool) -> None:
    """In bfloat16, as the first convolution would round its views to."""
    write_pack(tmp_path / "pack", [np.zeros((8, 8, 3), np.uint8)] * 8)
    facts = Pack.open(tmp_path / "pack").facts
    spec = resolve(JobSpec(dataset="x"), facts).spec
    facts = facts.model_copy(update={"channels": channels})
    context = DeviceContext(GPU, bf16=True, fused_kernels=True)
    accelerator = MODALITY.accelerator(spec, facts, context)
    assert (accelerator is not None) is is_given
    assert accelerator is None or accelerator.view_dtype == torch.bfloat16
    assert MODALITY.accelerator(spec, facts, DeviceContext(GPU, bf16=True)) is None

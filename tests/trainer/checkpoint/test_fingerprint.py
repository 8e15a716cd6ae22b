"""Causes of a result: those of CUDA, and an old checkpoint that names fewer."""

from collections.abc import Iterator

import pytest
import torch

from tests.support.data.dataset_facts import made_up_facts
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.accel.device import DeviceConfig, DeviceContext, deterministic_device
from trainer.checkpoint.fingerprint import differing, fingerprint
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

OF_CUDA = {"tf32", "cublas_workspace", "cudnn", "graphs"}


def causes(context: DeviceContext, *, graphs: bool = True) -> dict[str, str]:
    facts = made_up_facts()
    spec = resolve(JobSpec(dataset="x"), facts).spec
    return fingerprint(spec, context=context, facts=facts, test_facts=None, graphs=graphs)


@pytest.fixture
def of_gpu() -> Iterator[dict[str, str]]:
    with (
        pretend_gpu(),
        deterministic_device(DeviceConfig(device="cuda"), precision="fp32") as context,
    ):
        yield causes(context)


def test_settings_of_cuda_are_causes_on_a_gpu_alone(of_gpu: dict[str, str]) -> None:
    on_cpu = causes(DeviceContext(device=torch.device("cpu"), bf16=False))
    assert of_gpu.keys() - on_cpu.keys() == OF_CUDA
    assert of_gpu["cublas_workspace"] == ":4096:8"
    assert of_gpu["cudnn"].isdigit()
    assert of_gpu["graphs"] == "on"


@pytest.mark.parametrize("name", sorted(OF_CUDA))
def test_a_setting_that_changed_is_named(of_gpu: dict[str, str], name: str) -> None:
    assert differing(of_gpu, of_gpu) == ()
    assert differing(of_gpu | {name: "other"}, of_gpu) == (name,)


def test_an_old_checkpoint_of_a_gpu_differs_by_tf32_alone(of_gpu: dict[str, str]) -> None:
    """Convolutions in fp32 ran in TF32 then; the other settings were those of today."""
    old = {name: value for name, value in of_gpu.items() if name not in OF_CUDA}
    assert differing(old, of_gpu) == ("tf32",)
    assert differing(old, of_gpu | {"graphs": "off"}) == ("graphs", "tf32")


def test_any_other_cause_that_is_missing_differs(of_gpu: dict[str, str]) -> None:
    for name in of_gpu.keys() - OF_CUDA - {"world"}:
        old = {other: value for other, value in of_gpu.items() if other != name}
        assert differing(old, of_gpu) == (name,)
        assert differing(of_gpu, old) == (name,)

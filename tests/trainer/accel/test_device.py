"""The device, its precision, and the settings that are put back."""

import os

import pytest
import torch

from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.accel.device import DeviceConfig, DeviceContext, deterministic_device
from trainer.schema.errors import SpecError


def test_threads_and_determinism_last_as_long_as_the_run() -> None:
    before = torch.get_num_threads()
    with deterministic_device(DeviceConfig(device="cpu", threads=1), precision="fp32") as context:
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
        assert context.device == torch.device("cpu")
        assert not context.bf16
        assert context.name.startswith("cpu ")
        assert context.memory_bytes() > 10_000_000
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("able", "bf16"), [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({}, False)]
)
def test_auto_takes_bf16_where_a_cpu_has_instructions_for_it(
    able: dict[str, bool], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    with deterministic_device(DeviceConfig(device="cpu"), precision="auto") as context:
        assert context.bf16 is bf16


def test_the_gpu_of_a_run_is_the_current_one_as_long_as_the_run() -> None:
    with pretend_gpu(devices=2):
        with deterministic_device(DeviceConfig(device="cuda:1"), precision="auto"):
            assert torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0


@pytest.mark.parametrize("name", ["cuda:9", "meta", "gpu", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with (
        pytest.raises(SpecError, match="device"),
        deterministic_device(DeviceConfig(device=name), precision="auto"),
    ):
        pass


@pytest.mark.parametrize("has_unit", [True, False])
def test_the_name_of_a_cpu_says_what_it_multiplies_with(
    has_unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = {"cpu_name": "Fast", "amx_bf16": has_unit}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    name = DeviceContext(device=torch.device("cpu"), bf16=True).name
    assert name.startswith("cpu Fast ")
    assert name.endswith(" AMX") == has_unit

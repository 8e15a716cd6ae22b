"""The device, its precision, and the settings that are put back."""

import os
from typing import Any, Literal

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


T4, A100 = (7, 5), (8, 0)


@pytest.mark.parametrize(
    ("capability", "precision", "bf16", "is_told"),
    [
        (A100, "auto", True, False),
        (A100, "bf16", True, False),
        (A100, "fp32", False, False),
        (T4, "auto", False, True),
        (T4, "fp32", False, False),
    ],
)
def test_bf16_is_used_on_cards_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    precision: Literal["auto", "fp32", "bf16"],
    *,
    bf16: bool,
    is_told: bool,
) -> None:
    """Torch says of older cards that they support it: it would emulate it there."""
    with pretend_gpu():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        assert torch.cuda.is_bf16_supported()
        with deterministic_device(DeviceConfig(device="cuda"), precision=precision) as context:
            assert context.bf16 is bf16
            warning = context.warning or ""
        monkeypatch.undo()
    assert ("compute capability 7.5" in warning and "Pretend GPU" in warning) == is_told


def test_emulated_bf16_is_refused_with_the_card_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pretend_gpu():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: T4)
        with (
            pytest.raises(SpecError, match=r"Pretend GPU \(compute capability 7.5\)") as refused,
            deterministic_device(DeviceConfig(device="cuda"), precision="bf16"),
        ):
            pass
        monkeypatch.undo()
    assert refused.value.field == "precision"
    assert "use auto or fp32" in refused.value.detail


def tf32() -> tuple[str, ...]:
    backends: Any = torch.backends
    parts = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    return tuple(part.fp32_precision for part in parts)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_fp32_is_never_tf32_during_a_run(precision: Literal["auto", "fp32"]) -> None:
    before = tf32()
    assert before[0] == "tf32", "cuDNN's default, for which the setting is there"
    with (
        pretend_gpu(),
        deterministic_device(DeviceConfig(device="cuda"), precision=precision) as context,
    ):
        assert tf32() == ("ieee", "ieee", "ieee")
        assert context.backend_settings()["tf32"] == "conv ieee, matmul ieee"
    assert tf32() == before


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

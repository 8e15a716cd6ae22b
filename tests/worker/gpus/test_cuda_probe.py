"""The throw-away process that asks torch and CUDA."""

import pytest
import torch

from tests.support.gpus.fake_nvml import FakeCard, FakeMachine, environment
from worker.gpus.cuda_probe import CudaAnswer, CudaDevice, ask_cuda


@pytest.fixture(autouse=True)
def _asks_anew() -> None:
    ask_cuda.cache_clear()


def put(monkeypatch: pytest.MonkeyPatch, machine: FakeMachine) -> None:
    for name, value in environment(machine).items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
def test_it_reads_the_wheel_that_is_installed_and_says_why_cuda_does_not_start() -> None:
    answer = ask_cuda("")
    assert answer.build
    assert answer.build.version == torch.__version__
    cuda = torch.version.cuda
    assert (".".join(map(str, answer.build.cuda)) if answer.build.cuda else None) == cuda
    assert list(answer.build.archs) == torch.cuda.get_arch_list()
    assert answer.devices == ()
    assert answer.error


def test_it_asks_cuda_about_names(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, FakeMachine((FakeCard("GPU-1"),), cuda_only=("MIG-1",)))
    answer = ask_cuda("MIG-1")
    assert answer.devices == (CudaDevice("A device of CUDA", 10 << 30, (8, 0)),)
    assert answer.build
    assert (answer.build.cuda, answer.build.archs[:2]) == ((13, 0), ("sm_75", "sm_80"))
    assert [device.name for device in ask_cuda("GPU-1").devices] == ["NVIDIA H200"]
    assert ask_cuda("MIG-2").error == "No CUDA GPUs are available"


def test_a_process_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, FakeMachine((FakeCard("GPU-1"),)))
    answer = ask_cuda("GPU-1")
    put(monkeypatch, FakeMachine())
    assert ask_cuda("GPU-1") is answer


def test_a_torch_that_cannot_be_imported_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, FakeMachine(torch={"version": "0", "cuda": None}))  # no "archs": KeyError
    assert ask_cuda("0") == CudaAnswer()


def test_cuda_that_hangs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.gpus.cuda_probe.PROBE_S", 0.0)
    assert ask_cuda("0").error == "no answer within 0 s"

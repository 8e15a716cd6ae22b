"""The throw-away process that asks torch and CUDA."""

import pytest
import torch

from tests.support.gpus.fake_nvml import FakeMachine, environment
from worker.gpus.torch_probe import CudaDevice, cuda_devices, torch_build


@pytest.mark.slow
def test_it_reads_the_wheel_that_is_installed() -> None:
    build = torch_build()
    assert build
    assert build.version == torch.__version__
    cuda = torch.version.cuda
    assert (".".join(map(str, build.cuda)) if build.cuda else None) == cuda
    assert list(build.archs) == torch.cuda.get_arch_list()


def test_it_asks_cuda_about_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(FakeMachine(cuda_only=("MIG-1",))).items():
        monkeypatch.setenv(name, value)
    assert cuda_devices("MIG-1") == (CudaDevice("A device of CUDA", 10 << 30, (8, 0)),)
    assert cuda_devices("MIG-2") == ()
    build = torch_build()
    assert build
    assert (build.cuda, build.archs[:2]) == ((13, 0), ("sm_75", "sm_80"))


def test_a_torch_that_cannot_be_imported_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(torch={"version": "0", "cuda": None})  # its arch list is a KeyError
    for name, value in environment(machine).items():
        monkeypatch.setenv(name, value)
    assert torch_build() is None

"""The GPUs that a worker may use, on machines that exist only for pynvml."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from tests.support.gpus import fake_cuda, fake_nvml
from tests.support.gpus.fake_nvml import GIB, FakeCard, FakeInstance, FakeMachine
from worker.gpus import inventory as module
from worker.gpus.cuda_probe import CudaAnswer, CudaDevice, TorchBuild
from worker.gpus.inventory import UnusableDevice, inventory

EIGHT = FakeMachine(tuple(FakeCard(f"GPU-{i}a{i}") for i in range(8)))
OLD = FakeCard("GPU-k80", "Tesla K80", (3, 7), 12 * GIB, mig=None)
T4 = FakeCard("GPU-t4", "Tesla T4", (7, 5), 16 * GIB, mig=None)
MIG = FakeCard(
    "GPU-mig",
    "NVIDIA A100-SXM4-80GB",
    (8, 0),
    80 * GIB,
    mig=True,
    instances=(FakeInstance("MIG-11"), FakeInstance("MIG-12")),
)
Install = Callable[[FakeMachine], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "DEVICE_FILE", Path("/nowhere"))

    def put(machine: FakeMachine) -> None:
        fake_nvml.install(machine, monkeypatch.setattr)
        monkeypatch.setattr(module, "ask_cuda", lambda names: answer_of(machine, names))

    return put


def answer_of(machine: FakeMachine, names: str) -> CudaAnswer:
    torch = machine.torch
    cuda = torch["cuda"] and (int(torch["cuda"][:2]), int(torch["cuda"][3:]))
    devices = tuple(
        CudaDevice(device["name"], device["memory_bytes"], tuple(device["capability"]))
        for device in fake_cuda.devices(machine, names)
    )
    build = TorchBuild(torch["version"], cuda, tuple(torch["archs"]))
    return CudaAnswer(build, () if machine.cuda_error else devices, machine.cuda_error)


def uuids(device: str = "auto") -> list[str]:
    return [gpu.uuid for gpu in inventory(device).devices]


def refusal(device: str = "auto") -> str:
    with pytest.raises(UnusableDevice) as error:
        inventory(device)
    return str(error.value)


def test_every_gpu_is_a_slot(install: Install) -> None:
    install(EIGHT)
    gpus = inventory().devices
    assert [gpu.uuid for gpu in gpus] == [f"GPU-{i}a{i}" for i in range(8)]
    assert {(gpu.name, gpu.capability, gpu.memory_bytes) for gpu in gpus} == {
        ("NVIDIA H200", (9, 0), 141 * GIB)
    }
    assert not any(gpu.is_mig for gpu in gpus)


@pytest.mark.parametrize(
    ("names", "device", "expected"),
    [
        ("2,0", "auto", ["GPU-2a2", "GPU-0a0"]),
        ("GPU-3", "auto", ["GPU-3a3"]),
        ("GPU-3a3,1", "auto", ["GPU-3a3", "GPU-1a1"]),
        ("5,6", "cuda:1", ["GPU-6a6"]),
        ("5,6", "cuda", ["GPU-5a5"]),
        ("5,6", "GPU-6", ["GPU-6a6"]),
        ("", "auto", []),
        ("-1", "auto", []),
        ("NoDevFiles", "auto", []),
        ("0,1", "cpu", []),
        (None, "cpu", []),
        (None, "cuda:7", ["GPU-7a7"]),
        (None, "cuda:1,cuda:0", ["GPU-1a1", "GPU-0a0"]),
        (None, "GPU-4a4, GPU-2", ["GPU-4a4", "GPU-2a2"]),
        (None, "cuda:1,GPU-1", ["GPU-1a1", "GPU-1a1"]),
        (None, "cpu,cpu", []),
    ],
)
def test_names_choose_gpus_in_their_order(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    names: str | None,
    device: str,
    expected: list[str],
) -> None:
    install(EIGHT)
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert uuids(device) == expected


@pytest.mark.parametrize(
    ("names", "device", "words"),
    [
        ("8", "auto", "CUDA_VISIBLE_DEVICES names 8"),
        ("1,9,0", "auto", "CUDA_VISIBLE_DEVICES names 9"),
        ("GPU-x", "auto", "CUDA_VISIBLE_DEVICES names GPU-x"),
        ("GPU-", "auto", "it fits 8 of them"),
        ("0,0", "auto", "names GPU-0a0 more than once"),
        ("5,6", "cuda:2", "this process sees 2 GPUs"),
        ("5,6", "GPU-7a7", "MOCO_DEVICE names GPU-7a7"),
        ("", "cuda:0", "this process sees 0 GPUs"),
        (None, "cuda:8", "this process sees 8 GPUs"),
        (None, "MIG-11", "MOCO_DEVICE names MIG-11"),
        (None, "cpu,cuda:0", "a worker has GPUs or the CPU"),
    ],
)
def test_a_name_that_is_no_gpu_is_refused_and_never_the_cpu(
    install: Install, monkeypatch: pytest.MonkeyPatch, names: str | None, device: str, words: str
) -> None:
    install(EIGHT)
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert words in refusal(device)


@pytest.mark.parametrize(
    ("names", "device", "expected"),
    [
        (None, "auto", ["GPU-t4", "MIG-11", "MIG-12"]),
        (None, "MIG-12", ["MIG-12"]),
        (None, "GPU-mig", ["MIG-11", "MIG-12"]),
        ("1", "auto", ["MIG-11", "MIG-12"]),
        ("MIG-12,GPU-t4", "auto", ["MIG-12", "GPU-t4"]),
        ("MIG-12", "cuda:0", ["MIG-12"]),
    ],
)
def test_mig_instances_are_gpus_of_their_own(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    names: str | None,
    device: str,
    expected: list[str],
) -> None:
    install(FakeMachine((T4, MIG)))
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    gpus = inventory(device).devices
    assert [gpu.uuid for gpu in gpus] == expected
    for gpu in gpus:
        if gpu.is_mig:
            assert (gpu.memory_bytes, gpu.capability) == (10 * GIB, (8, 0))
            assert (gpu.card, gpu.card_uuid) == (1, "GPU-mig")


@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "MOCO_DEVICE"])
def test_cuda_is_asked_about_a_name_that_the_driver_does_not_list(
    install: Install, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    install(replace(EIGHT, cuda_only=("MIG-77",)))
    if variable == "CUDA_VISIBLE_DEVICES":
        monkeypatch.setenv(variable, "MIG-77")
        assert uuids() == ["MIG-77"]
    else:
        assert uuids("MIG-77") == ["MIG-77"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-78")
    assert "CUDA_VISIBLE_DEVICES names MIG-78" in refusal()


def test_a_card_that_fell_off_the_bus_costs_the_others_nothing(install: Install) -> None:
    lost = FakeCard("GPU-x", errors={"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST})
    prohibited = FakeCard("GPU-p", compute_mode=pynvml.NVML_COMPUTEMODE_PROHIBITED)
    empty = FakeCard("GPU-m", mig=True)
    install(FakeMachine((lost, FakeCard("GPU-y"), prohibited, empty)))
    found = inventory()
    assert [(gpu.uuid, gpu.card) for gpu in found.devices] == [("GPU-y", 1)]
    notes = " ".join(found.notes)
    assert "GPU 0 does not answer (GPU is lost)" in notes
    assert "GPU 2 is in compute mode Prohibited" in notes
    assert "GPU 3 is in MIG mode but has no instance" in notes
    install(FakeMachine((lost,)))
    assert "GPU 0 does not answer" in refusal()


def test_a_driver_that_is_too_old_is_refused_before_a_job(install: Install) -> None:
    install(replace(EIGHT, driver="550.54.15", cuda=12040))
    for device in ("auto", "cuda:0", "GPU-3"):
        sentence = refusal(device)
        assert "driver 550.54.15 runs CUDA 12.4" in sentence
        assert "built for CUDA 13.0" in sentence
        assert "driver 580.65.06 or newer" in sentence
    assert uuids("cpu") == []
    # Within one major version CUDA runs newer minor versions on older drivers.
    install(replace(EIGHT, torch=EIGHT.torch | {"cuda": "13.2"}))
    assert len(uuids()) == 8
    install(replace(EIGHT, torch=EIGHT.torch | {"cuda": None, "version": "2.15.0+cpu"}))
    assert "torch 2.15.0+cpu is built without CUDA" in refusal()


def test_cards_that_the_wheel_has_no_code_for(install: Install) -> None:
    install(FakeMachine((OLD, EIGHT.cards[0])))
    found = inventory()
    assert [gpu.uuid for gpu in found.devices] == ["GPU-0a0"]
    assert "Tesla K80 (GPU-k80) has compute capability 3.7" in found.notes[0]
    assert "GPU-k80" in refusal("cuda:0")
    install(FakeMachine((OLD,)))
    assert "built for sm_75, sm_80" in refusal()


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("Error 802: system not yet initialized", "start nvidia-fabricmanager"),
        ("CUDA-capable device(s) is/are busy or unavailable", "exclusive mode"),
        ("CUDA unknown error - this may be due to", "nvidia-modprobe -u"),
        ("no answer within 120 s", "A GPU hangs"),
        ("something else", "dmesg"),
    ],
)
def test_gpus_that_the_driver_lists_and_cuda_cannot_use_are_refused(
    install: Install, error: str, cure: str
) -> None:
    install(replace(EIGHT, cuda_error=error))
    sentence = refusal()
    assert f"The driver lists 8 GPUs, but CUDA cannot start: {error}" in sentence
    assert cure in sentence
    install(FakeMachine((MIG,), cuda_error=error))
    assert cure in refusal("MIG-12")


def test_cuda_that_sees_fewer_gpus_than_the_driver_is_refused(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(EIGHT)
    monkeypatch.setattr(module, "ask_cuda", lambda _names: answer_of(EIGHT, "GPU-0a0,GPU-1a1"))
    assert "it sees 2 of 8" in refusal()
    assert uuids("cuda:1,cuda:0") == ["GPU-1a1", "GPU-0a0"]
    monkeypatch.setattr(module, "ask_cuda", lambda _names: CudaAnswer())
    assert len(uuids()) == 8  # torch cannot be imported, and the forkserver will say so


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90", "sm_90a"], False),
        ((12, 1), ["sm_120a"], False),
        ((10, 3), ["sm_100f"], True),
        ((12, 0), ["compute_90"], True),
        ((7, 5), ["compute_90"], False),
        ((7, 5), [], True),
    ],
)
def test_code_runs_on_its_own_major_version_and_ptx_on_later_cards(
    install: Install, capability: tuple[int, int], archs: list[str], runs: bool
) -> None:
    torch = EIGHT.torch | {"archs": archs}
    install(FakeMachine((FakeCard("GPU-x", capability=capability),), torch=torch))
    if runs:
        assert uuids() == ["GPU-x"]
    else:
        assert "has compute capability" in refusal()


def test_a_card_without_bf16_is_used_and_said(install: Install) -> None:
    install(FakeMachine((T4, EIGHT.cards[0])))
    found = inventory()
    assert [gpu.has_bf16 for gpu in found.devices] == [False, True]
    assert found.notes == (
        "Tesla T4 (GPU-t4) has no bf16: jobs with `precision: auto` train in fp32.",
    )


def test_a_machine_without_a_driver_trains_on_its_cpu_unless_a_gpu_is_named(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeMachine(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, cuda_only=("0",))
    install(machine)
    assert uuids() == []
    assert "MOCO_DEVICE names cuda:0" in refusal("cuda:0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "CUDA_VISIBLE_DEVICES names 1" in refusal()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # a board whose driver has no NVML
    assert uuids() == ["0"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "nvmlInit: Driver Not Loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "driver/library version mismatch"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "nvmlInit: Insufficient Permissions"),
    ],
)
def test_a_broken_driver_is_no_reason_for_the_cpu(install: Install, code: int, words: str) -> None:
    install(FakeMachine(init_error=code))
    assert words in refusal()
    assert uuids("cpu") == []


def test_a_container_without_the_library_is_told_which_capability_it_lacks(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(FakeMachine(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    monkeypatch.setattr(module, "DEVICE_FILE", tmp_path)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in refusal()


def test_the_fake_has_functions_of_pynvml_with_its_parameters() -> None:
    driver = fake_nvml._Driver(EIGHT)
    names = [name for name in dir(driver) if name.startswith("nvml")]
    assert len(names) > 20
    for name in names:
        real = inspect.signature(inspect.unwrap(getattr(pynvml, name))).parameters
        assert list(inspect.signature(getattr(driver, name)).parameters) == list(real), name

from types import SimpleNamespace

import pytest

from worker.telemetry import gpu as module


def fake_driver(uuids: list[str]) -> SimpleNamespace:
    """NVML with these GPUs; a handle is its number."""
    memory = SimpleNamespace(used=1, total=2)
    return SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(uuids),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: uuids[handle],
        nvmlDeviceGetName=lambda handle: f"GPU {handle}",
        nvmlSystemGetDriverVersion=lambda: "1.0",
        nvmlDeviceGetMemoryInfo=lambda _handle: memory,
        nvmlDeviceGetUtilizationRates=lambda _handle: SimpleNamespace(gpu=50),
        nvmlDeviceGetTemperature=lambda _handle, _sensor: 40,
        nvmlDeviceGetPowerUsage=lambda _handle: 100_000,
        nvmlDeviceGetTotalEnergyConsumption=lambda _handle: 5_000,
    )


@pytest.fixture
def _three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pynvml", fake_driver(["GPU-aa1", "GPU-aa2", "GPU-b"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("_three_gpus")
@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (None, ["GPU-aa1", "GPU-aa2", "GPU-b"]),
        ("", []),
        ("2,0", ["GPU-b", "GPU-aa1"]),
        ("GPU-b", ["GPU-b"]),
        ("GPU-aa", []),  # not one GPU
        ("1,7,0", ["GPU-aa2"]),
        ("-1", []),
    ],
)
def test_gpus_are_numbered_as_cuda_does(
    monkeypatch: pytest.MonkeyPatch, names: str | None, seen: list[str]
) -> None:
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert [gpu.uuid for gpu in module.read_gpus(["GPU-b", "GPU-aa1", "GPU-aa2"])] == seen


@pytest.mark.usefixtures("_three_gpus")
def test_units_are_base_units() -> None:
    (gpu,) = module.read_gpus(["GPU-b"])
    assert gpu.index == 2
    assert (gpu.utilization_ratio, gpu.power_watts, gpu.energy_joules) == (0.5, 100.0, 5.0)


def test_a_machine_without_a_driver_trains_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("no driver")

    driver = fake_driver([])
    driver.nvmlInit = missing
    monkeypatch.setattr(module, "pynvml", driver)
    assert module.read_gpus(["GPU-b"]) == []
    assert module.describe(["cpu"], 2)["gpu"] is None

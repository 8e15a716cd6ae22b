"""Readings of GPUs, with and without every sensor."""

import time

import pynvml
import pytest

from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import GIB, FakeCard, FakeInstance, FakeMachine
from worker.gpus.sensors import SENSORS, read_gpus

FUNCTIONS = {
    "nvmlDeviceGetUtilizationRates": {"utilization_ratio"},
    "nvmlDeviceGetMemoryInfo": {"memory_used_bytes", "memory_total_bytes"},
    "nvmlDeviceGetTemperature": {"temperature_celsius"},
    "nvmlDeviceGetPowerUsage": {"power_watts"},
    "nvmlDeviceGetTotalEnergyConsumption": {"energy_joules"},
}


def put(monkeypatch: pytest.MonkeyPatch, *cards: FakeCard) -> None:
    fake_nvml.install(FakeMachine(cards), monkeypatch.setattr)


def test_units_are_base_units(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, FakeCard("GPU-a"), FakeCard("GPU-b", used_bytes=3 * GIB))
    before_s = time.monotonic()
    second, first = read_gpus(["GPU-b", "GPU-a", "GPU-b"])
    assert (second.index, second.uuid, first.index, first.uuid) == (0, "GPU-b", 1, "GPU-a")
    assert (second.name, second.driver) == ("NVIDIA H200", "580.95.05")
    assert (second.utilization_ratio, second.temperature_celsius) == (0.75, 61.0)
    assert (second.memory_used_bytes, second.memory_total_bytes) == (3 * GIB, 141 * GIB)
    assert second.power_watts == 250.0
    assert second.energy_joules
    assert second.energy_joules >= before_s * 250.0 - 1.0
    assert second.missing == ()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_UNKNOWN])
def test_a_sensor_that_is_missing_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    put(monkeypatch, FakeCard("GPU-a", errors={function: code}))
    (reading,) = read_gpus(["GPU-a"])
    assert set(reading.missing) == FUNCTIONS[function]
    assert set().union(*FUNCTIONS.values()) == set(SENSORS)


def test_a_mig_instance_has_its_memory_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    instances = (FakeInstance("MIG-1"), FakeInstance("MIG-2"))
    put(monkeypatch, FakeCard("GPU-m", mig=True, instances=instances))
    (reading,) = read_gpus(["MIG-2"])
    assert (reading.memory_total_bytes, reading.name[-10:]) == (10 * GIB, "MIG 1g.10gb"[-10:])
    assert set(reading.missing) == set(SENSORS) - {"memory_used_bytes", "memory_total_bytes"}


def test_a_gpu_that_is_gone_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, FakeCard("GPU-a"))
    assert [(gpu.index, gpu.uuid) for gpu in read_gpus(["GPU-gone", "GPU-a"])] == [(1, "GPU-a")]
    fake_nvml.install(
        FakeMachine(init_error=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), monkeypatch.setattr
    )
    assert read_gpus(["GPU-a"]) == []

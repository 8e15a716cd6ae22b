"""Series of GPUs that exist only for pynvml, read by the parser of prometheus_client."""

from dataclasses import replace

import pynvml
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.observability.metrics import Instruments
from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import GIB, FakeCard, FakeInstance, FakeMachine
from worker.telemetry.gpu_metrics import GpuMetrics

READINGS = {
    "moco_worker_gpu_utilization_ratio",
    "moco_worker_gpu_memory_used_bytes",
    "moco_worker_gpu_memory_total_bytes",
    "moco_worker_gpu_temperature_celsius",
    "moco_worker_gpu_power_watts",
    "moco_worker_gpu_energy_joules_total",
}


def series(instruments: Instruments, gpu: str) -> dict[str, float]:
    """Name -> value of the series of one GPU."""
    families = text_string_to_metric_families(instruments.render().decode())
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("gpu") == gpu
    }


def uuid_of(instruments: Instruments, gpu: str) -> str:
    families = text_string_to_metric_families(instruments.render().decode())
    (info,) = [family for family in families if family.name == "moco_worker_gpu_info"]
    (sample,) = [sample for sample in info.samples if sample.labels["gpu"] == gpu]
    return sample.labels["uuid"]


def test_each_gpu_has_its_series_and_a_mig_instance_those_it_can_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = [FakeCard(f"GPU-{i}", used_bytes=(i + 1) * GIB) for i in range(7)]
    cards.append(FakeCard("GPU-m", mig=True, instances=(FakeInstance("MIG-1"),)))
    fake_nvml.install(FakeMachine(tuple(cards)), monkeypatch.setattr)
    instruments = Instruments(CollectorRegistry(), "worker")
    uuids = [*(f"GPU-{i}" for i in reversed(range(7))), "MIG-1", "GPU-6"]
    GpuMetrics(instruments, "w", uuids).update()
    for index in range(7):
        values = series(instruments, str(index))
        assert values.keys() == {*READINGS, "moco_worker_gpu_info", "moco_worker_gpu_up"}
        assert uuid_of(instruments, str(index)) == f"GPU-{6 - index}"
        assert values["moco_worker_gpu_memory_used_bytes"] == (7 - index) * GIB
        assert values["moco_worker_gpu_up"] == 1
    mig = series(instruments, "7")
    assert READINGS & mig.keys() == {
        "moco_worker_gpu_memory_used_bytes",
        "moco_worker_gpu_memory_total_bytes",
    }
    assert mig["moco_worker_gpu_memory_total_bytes"] == 10 * GIB
    assert series(instruments, "8") == {}


def test_a_gpu_that_is_lost_leaves_no_old_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = FakeCard("GPU-a"), FakeCard("GPU-b")
    instruments = Instruments(CollectorRegistry(), "worker")
    metrics = GpuMetrics(instruments, "w", ["GPU-a", "GPU-b"])
    fake_nvml.install(FakeMachine((whole, broken)), monkeypatch.setattr)
    metrics.update()
    errors = {"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}
    fake_nvml.install(FakeMachine((replace(broken, errors=errors), whole)), monkeypatch.setattr)
    metrics.update()
    assert series(instruments, "1") == {"moco_worker_gpu_up": 0, "moco_worker_gpu_info": 1}
    assert series(instruments, "0").keys() > READINGS
    fake_nvml.install(FakeMachine((whole, broken)), monkeypatch.setattr)
    metrics.update()
    energy = series(instruments, "1")["moco_worker_gpu_energy_joules_total"]
    metrics.update()
    assert series(instruments, "1")["moco_worker_gpu_energy_joules_total"] >= energy > 0


def test_a_name_that_only_cuda_knows_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml.install(FakeMachine((FakeCard("GPU-a"),)), monkeypatch.setattr)
    instruments = Instruments(CollectorRegistry(), "worker")
    GpuMetrics(instruments, "w", ["MIG-GPU-a/1/0", "GPU-a"]).update()
    assert series(instruments, "0") == {}
    assert series(instruments, "1")["moco_worker_gpu_up"] == 1


def test_a_cpu_has_none() -> None:
    instruments = Instruments(CollectorRegistry(), "worker")
    GpuMetrics(instruments, "w", ()).update()
    assert "gpu=" not in instruments.render().decode()

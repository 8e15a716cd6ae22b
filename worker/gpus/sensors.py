"""Readings of GPUs for metrics. Each sensor may be missing: MIG instances and vGPUs have few."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pynvml

from worker.gpus.nvml import Handle, handles, opened, optional

SENSORS = (
    "utilization_ratio",
    "memory_used_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "power_watts",
    "energy_joules",
)
"""Fields of a `GpuReading` that a card may lack."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One reading of one GPU or MIG instance; None where it has no such sensor."""

    index: int
    """Number among the GPUs that were asked for."""
    uuid: str
    name: str
    driver: str
    utilization_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the sensors that did not answer."""
        return tuple(name for name in SENSORS if getattr(self, name) is None)


def read_gpus(uuids: Iterable[str]) -> list[GpuReading]:
    """Read these GPUs now; one that does not answer is left out, and without a driver all are."""
    try:
        with opened():
            driver, by_uuid = str(pynvml.nvmlSystemGetDriverVersion()), handles()
            return [
                _read(by_uuid[uuid], index=index, uuid=uuid, driver=driver)
                for index, uuid in enumerate(dict.fromkeys(uuids))
                if uuid in by_uuid
            ]
    except pynvml.NVMLError:
        return []


def _read(handle: Handle, *, index: int, uuid: str, driver: str) -> GpuReading:
    memory = optional(pynvml.nvmlDeviceGetMemoryInfo, handle)
    rates = optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
    celsius = optional(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    return GpuReading(
        index=index,
        uuid=uuid,
        name=str(optional(pynvml.nvmlDeviceGetName, handle) or "unknown GPU"),
        driver=driver,
        utilization_ratio=None if rates is None else rates.gpu / 100,
        memory_used_bytes=None if memory is None else float(memory.used),
        memory_total_bytes=None if memory is None else float(memory.total),
        temperature_celsius=None if celsius is None else float(celsius),
        power_watts=_thousandths(optional(pynvml.nvmlDeviceGetPowerUsage, handle)),
        energy_joules=_thousandths(optional(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)),
    )


def _thousandths(value: Any) -> float | None:  # noqa: ANN401  # an int of NVML, or None
    return None if value is None else value / 1000

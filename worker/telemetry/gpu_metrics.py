"""Series of the GPUs of one worker, one of each kind for each GPU that has the sensor."""

from collections.abc import Iterable

from service.observability.metrics import Instruments
from worker.gpus.sensors import GpuReading, read_gpus

_METRICS = {
    "utilization_ratio": "moco_worker_gpu_utilization_ratio",
    "memory_used_bytes": "moco_worker_gpu_memory_used_bytes",
    "memory_total_bytes": "moco_worker_gpu_memory_total_bytes",
    "temperature_celsius": "moco_worker_gpu_temperature_celsius",
    "power_watts": "moco_worker_gpu_power_watts",
    "energy_joules": "moco_worker_gpu_energy_joules_total",
}
"""Sensor -> its metric."""


class GpuMetrics:
    """Readings of a fixed list of GPUs, as series with the labels `worker` and `gpu`."""

    def __init__(self, metrics: Instruments, worker: str, uuids: Iterable[str]) -> None:
        """`gpu` is the place of a UUID in `uuids`; one that is repeated counts once."""
        self._metrics, self._worker = metrics, worker
        self._uuids = tuple(dict.fromkeys(uuids))
        self._answered: set[str] = set()

    def update(self) -> None:
        """Read every GPU now. A reading that is missing has no series until it is back."""
        readings = {reading.uuid: reading for reading in read_gpus(self._uuids)}
        for index, uuid in enumerate(self._uuids):
            labels = {"worker": self._worker, "gpu": str(index)}
            reading = readings.get(uuid)
            if reading:
                self._answered.add(uuid)
                names = {"uuid": uuid, "name": reading.name, "driver": reading.driver}
                self._metrics.set("moco_worker_gpu_info", 1, **labels, **names)
            if uuid in self._answered:  # a name that only CUDA knows never does
                self._metrics.set("moco_worker_gpu_up", float(reading is not None), **labels)
            self._export(reading, labels)

    def _export(self, reading: GpuReading | None, labels: dict[str, str]) -> None:
        for sensor, metric in _METRICS.items():
            value = getattr(reading, sensor, None)
            if value is None:
                self._metrics.drop(metric, **labels)
            elif metric.endswith("_total"):
                self._metrics.total(metric, value, **labels)
            else:
                self._metrics.set(metric, value, **labels)

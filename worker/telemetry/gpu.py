"""GPUs and host of a worker, read through the driver, never through CUDA or torch."""

import os
import platform
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pynvml


@dataclass(frozen=True)
class Gpu:
    """One reading of one GPU."""

    index: int
    uuid: str
    name: str
    driver: str
    utilization_ratio: float
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_celsius: float
    power_watts: float
    energy_joules: float


@contextmanager
def _driver() -> Iterator[bool]:
    """Open NVML; yields False where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def read_gpus(uuids: Collection[str]) -> list[Gpu]:
    """Read these of the GPUs that this process sees; one that does not answer is left out."""
    with _driver() as has_driver:
        handles = _visible() if has_driver else []
        readings = [_answer(index, handle) for index, handle in enumerate(handles)]
    return [gpu for gpu in readings if gpu and gpu.uuid in uuids]


def _answer(index: int, handle: Any) -> Gpu | None:  # noqa: ANN401  # NVML's own type
    try:
        return _read(index, handle)
    except pynvml.NVMLError:
        return None


def _visible() -> list[Any]:
    """Return NVML's handles in CUDA's order; like CUDA, stop at the first name that is no GPU."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    if names is None:
        return handles
    uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    visible = []
    for name in filter(None, map(str.strip, names.split(","))):
        numbered = name.isdigit() and int(name) < len(handles)
        matches = [int(name)] if numbered else _with_prefix(name, uuids)
        if len(matches) != 1:
            break
        visible.append(handles[matches[0]])
    return visible


def _with_prefix(name: str, uuids: list[str]) -> list[int]:
    return [i for i, uuid in enumerate(uuids) if name.startswith("GPU-") and uuid.startswith(name)]


def _read(index: int, handle: Any) -> Gpu:  # noqa: ANN401  # NVML's own type
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        driver=str(pynvml.nvmlSystemGetDriverVersion()),
        utilization_ratio=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        memory_used_bytes=int(memory.used),
        memory_total_bytes=int(memory.total),
        temperature_celsius=float(
            pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        ),
        power_watts=pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        energy_joules=pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
    )


def describe(devices: Sequence[str], threads: int | None) -> dict[str, Any]:
    """Return host, versions and GPUs of this worker, for people to read."""
    gpus = read_gpus(devices)
    return {
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": threads,
        "gpu": gpus[0].name if gpus else None,
        "driver": gpus[0].driver if gpus else None,
        "gpus": [{"name": gpu.name, "uuid": gpu.uuid} for gpu in gpus],
        "python": platform.python_version(),
        "torch": installed("torch"),
        "mocoserve": installed("mocoserve"),
    }


def installed(package: str) -> str | None:
    """Return the version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

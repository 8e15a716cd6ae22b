"""`python -m worker` on the CPU, beside a GPU that exists only for Prometheus.

The driver's module is replaced by one that answers as a GPU would, so that panels about GPUs have
something to show on a machine without one. Training does not see it.
"""

import sys
import time
from types import ModuleType, SimpleNamespace


class _NVMLError(Exception):
    """Never raised here."""


def _driver() -> ModuleType:
    fake = ModuleType("pynvml")
    answers = {
        "NVMLError": _NVMLError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda _h: "GPU-0000",
        "nvmlDeviceGetName": lambda _h: "A GPU of the test",
        "nvmlSystemGetDriverVersion": lambda: "1.0",
        "nvmlDeviceGetUtilizationRates": lambda _h: SimpleNamespace(gpu=75),
        "nvmlDeviceGetMemoryInfo": lambda _h: SimpleNamespace(used=2**33, total=2**34),
        "nvmlDeviceGetTemperature": lambda _h, _sensor: 61,
        "nvmlDeviceGetPowerUsage": lambda _h: 250_000,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _h: int(time.monotonic() * 250_000),
    }
    for name, answer in answers.items():
        setattr(fake, name, answer)
    return fake


def _main() -> int:
    sys.modules["pynvml"] = _driver()
    from worker.telemetry import gpu

    read_gpus = gpu.read_gpus
    # Before others import it by name.
    gpu.read_gpus = lambda uuids: read_gpus(["GPU-0000"])  # noqa: ARG005
    from worker.__main__ import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())

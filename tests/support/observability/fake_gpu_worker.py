"""`python -m worker` on the CPU, beside GPUs that exist only for Prometheus.

The functions of `pynvml` answer as a driver would, so that panels about GPUs have something to show
on a machine without one. Training does not see it.
"""

import sys
from collections.abc import Iterable

from service.observability.metrics import Instruments
from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import FakeCard, FakeInstance, FakeMachine
from worker.telemetry import gpu_metrics

MACHINE = FakeMachine(
    (
        FakeCard("GPU-0000"),
        FakeCard("GPU-0001"),
        FakeCard("GPU-0002", mig=True, instances=(FakeInstance("MIG-0003"),)),
    )
)
UUIDS = ("GPU-0000", "GPU-0001", "MIG-0003")


def _main() -> int:
    fake_nvml.install(MACHINE)
    made = gpu_metrics.GpuMetrics

    def of_the_machine(
        metrics: Instruments, worker: str, _uuids: Iterable[str]
    ) -> gpu_metrics.GpuMetrics:
        return made(metrics, worker, UUIDS)

    # Before it is imported by name.
    gpu_metrics.GpuMetrics = of_the_machine  # type: ignore[misc, assignment]
    from worker.__main__ import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())

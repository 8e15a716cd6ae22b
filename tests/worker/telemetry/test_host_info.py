"""Facts that a worker tells of itself."""

import json

from worker.gpus.inventory import Inventory
from worker.gpus.nvml import GpuDevice
from worker.telemetry.host_info import describe, installed

T4 = GpuDevice("GPU-t4", "Tesla T4", 16 << 30, (7, 5), 0, "GPU-t4")
H200 = GpuDevice("GPU-h", "NVIDIA H200", 141 << 30, (9, 0), 1, "GPU-h")


def test_the_gpus_of_its_slots_are_told() -> None:
    gpus = Inventory((T4, H200, H200), "580.95.05", (13, 0), notes=("Tesla T4 has no bf16.",))
    info = describe(gpus, ["GPU-h", "GPU-h"], 4)
    assert info["gpus"] == [
        {
            "uuid": "GPU-h",
            "name": "NVIDIA H200",
            "memory_bytes": 141 << 30,
            "capability": "9.0",
            "bf16": True,
        }
    ]
    assert (info["gpu"], info["driver"], info["cuda"]) == ("NVIDIA H200", "580.95.05", "13.0")
    assert (info["threads"], info["notes"]) == (4, ["Tesla T4 has no bf16."])
    assert describe(gpus, ["GPU-t4"], None)["gpus"][0]["bf16"] is False
    assert json.loads(json.dumps(info)) == info


def test_a_worker_on_the_cpu_tells_no_gpu() -> None:
    info = describe(Inventory(), ["cpu", "cpu"], 2)
    assert (info["gpu"], info["driver"], info["cuda"], info["gpus"]) == (None, None, None, [])
    assert info["torch"] == installed("torch")
    assert installed("no-such-package") is None

"""`moco doctor` on machines with GPUs that exist only for pynvml."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.gpus.fake_nvml import FakeCard, FakeMachine, environment


def doctor(folder: Path, machine: FakeMachine, *options: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOCO_", "CUDA_"))}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor", *options],
        env=clean | environment(machine) | {"MOCO_DATA_DIR": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_gpu_is_checked(tmp_path: Path) -> None:
    machine = FakeMachine((FakeCard("GPU-a"), FakeCard("GPU-b", persistence=0)))
    done = doctor(tmp_path, machine, "--json")
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["data"]
    assert [check["gpu"]["uuid"] for check in checks if "gpu" in check] == ["GPU-a", "GPU-b"]
    (devices,) = [check["finding"] for check in checks if check["name"] == "devices"]
    assert devices.startswith("2 GPUs for a worker, ")
    done = doctor(tmp_path, machine)
    assert "NVIDIA H200, GPU-b" in done.stdout
    assert "nvidia-persistenced" in done.stderr


def test_a_driver_that_is_too_old_fails_with_what_to_install(tmp_path: Path) -> None:
    machine = FakeMachine((FakeCard("GPU-a"),), driver="550.54.15", cuda=12040)
    done = doctor(tmp_path, machine)
    assert done.returncode == 1
    assert "Install driver 580.65.06 or newer" in " ".join(done.stderr.split())

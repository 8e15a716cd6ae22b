"""Throw-away process that asks torch what it was built for, and CUDA which devices it sees.

Run as `python -m worker.gpus.torch_probe [devices]`; it prints one line of JSON. Only this process
starts CUDA: a worker must not, because its forkserver's children could not use it afterwards.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from mocoserve.launch import module_command

PROBE_S = 120.0
"""Longest time for the import of torch from a cold disk, and the start of CUDA."""
_MARK = "torch_probe:"


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """CUDA version and GPU architectures of the installed wheel of torch."""

    version: str
    cuda: tuple[int, int] | None
    """None: the wheel has no CUDA."""
    archs: tuple[str, ...]
    """Such as sm_90 and compute_120; empty if unknown."""


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """One device as CUDA describes it."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]


def torch_build() -> TorchBuild | None:
    """Return what torch was built for, without importing it here; None if it cannot be told."""
    values = _probe({"PYTORCH_NVML_BASED_CUDA_CHECK": "1"})
    if values is None:
        return None
    cuda = values["cuda"]
    return TorchBuild(
        version=values["version"],
        cuda=version_pair(cuda) if cuda else None,
        archs=tuple(values["archs"]),
    )


def cuda_devices(names: str) -> tuple[CudaDevice, ...]:
    """Return the devices that CUDA sees where CUDA_VISIBLE_DEVICES is `names`."""
    values = _probe({"CUDA_VISIBLE_DEVICES": names}, "devices") or {"devices": []}
    return tuple(
        CudaDevice(device["name"], device["memory_bytes"], tuple(device["capability"]))
        for device in values["devices"]
    )


def version_pair(text: str) -> tuple[int, int]:
    """Return (13, 2) for `13.2`."""
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def _probe(environment: dict[str, str], *arguments: str) -> dict[str, Any] | None:
    command = module_command("worker.gpus.torch_probe", *arguments)
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | environment,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        return None
    values: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
    return values


def _main(arguments: list[str]) -> None:
    import torch  # noqa: PLC0415  # in the throw-away process only

    values: dict[str, Any] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list(),
        "devices": [],
    }
    if "devices" in arguments and torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            values["devices"].append(
                {
                    "name": properties.name,
                    "memory_bytes": properties.total_memory,
                    "capability": [properties.major, properties.minor],
                }
            )
    sys.stdout.write(_MARK + json.dumps(values) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])

"""Throw-away process that asks torch what it was built for, and CUDA which devices it can use.

Run as `python -m worker.gpus.cuda_probe`; it prints one line of JSON. Only this process starts
CUDA: a worker must not, because its forkserver's children could not use it afterwards. It sees the
GPUs exactly as a child does, so a machine on which every job would fail is found before a job is.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from mocoserve.launch import module_command

PROBE_S = 120.0
"""Longest time for the import of torch from a cold disk, and the start of CUDA on eight GPUs."""
_MARK = "cuda_probe:"


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


@dataclass(frozen=True, slots=True)
class CudaAnswer:
    """Answer of the throw-away process."""

    build: TorchBuild | None = None
    """None: torch cannot be imported, of which the forkserver will say more."""
    devices: tuple[CudaDevice, ...] = ()
    error: str | None = None
    """CUDA's own words, if it does not start."""


@cache
def ask_cuda(names: str) -> CudaAnswer:
    """Return what torch and CUDA say where CUDA_VISIBLE_DEVICES is `names`.

    Each process asks once: the answer takes seconds.
    """
    visible = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": names}
    try:
        done = subprocess.run(
            module_command("worker.gpus.cuda_probe"),
            env=os.environ | visible,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return CudaAnswer(error=f"no answer within {PROBE_S:.0f} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        return CudaAnswer()
    return _parsed(json.loads(lines[-1].removeprefix(_MARK)))


def _parsed(values: dict[str, Any]) -> CudaAnswer:
    cuda = values["cuda"]
    return CudaAnswer(
        TorchBuild(values["version"], _pair(cuda) if cuda else None, tuple(values["archs"])),
        tuple(
            CudaDevice(device["name"], device["memory_bytes"], tuple(device["capability"]))
            for device in values["devices"]
        ),
        values["error"],
    )


def _pair(text: str) -> tuple[int, int]:
    """Return (13, 2) for `13.2`."""
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def _main() -> None:
    import torch  # noqa: PLC0415  # in the throw-away process only

    values: dict[str, Any] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "archs": torch.cuda.get_arch_list(),
        "devices": [],
        "error": None,
    }
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch has no types here
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            values["devices"].append(
                {
                    "name": properties.name,
                    "memory_bytes": properties.total_memory,
                    "capability": [properties.major, properties.minor],
                }
            )
    except (RuntimeError, AssertionError) as error:
        values["error"] = (str(error).splitlines() or [repr(error)])[0]
    sys.stdout.write(_MARK + json.dumps(values) + "\n")


if __name__ == "__main__":
    _main()

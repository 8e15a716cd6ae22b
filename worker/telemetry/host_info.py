"""Host, versions and GPUs of a worker, for people to read in `GET /v1/workers`."""

import os
import platform
import socket
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker.gpus.fitness import dotted
from worker.gpus.inventory import Inventory
from worker.gpus.nvml import GpuDevice


def describe(gpus: Inventory, devices: Collection[str], threads: int | None) -> dict[str, Any]:
    """Return the facts about this worker; `devices` are the names of its slots."""
    used = [_facts(gpu) for gpu in dict.fromkeys(gpus.devices) if gpu.uuid in devices]
    return {
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": threads,
        "gpu": used[0]["name"] if used else None,
        "driver": gpus.driver,
        "cuda": dotted(gpus.cuda) if gpus.cuda else None,
        "gpus": used,
        "notes": list(gpus.notes),
        "python": platform.python_version(),
        "torch": installed("torch"),
        "mocoserve": installed("mocoserve"),
    }


def _facts(gpu: GpuDevice) -> dict[str, Any]:
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "capability": dotted(gpu.capability) if gpu.capability else None,
        "bf16": gpu.has_bf16,
    }


def installed(package: str) -> str | None:
    """Return the version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

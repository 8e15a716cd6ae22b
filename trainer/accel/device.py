"""The device that a run uses, and the settings that make it repeat itself bit for bit."""

import os
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.utils.deterministic

from trainer.schema.choices import Precision
from trainer.schema.errors import SpecError


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Device and settings of a training."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; auto takes a GPU if there is one."""
    threads: int | None = None
    """Threads of one operation on a CPU. None leaves torch's own choice. Sums depend on it."""
    loader_threads: int = 4
    """Threads that gather the rows of the next batch; 0 gathers each batch when it is needed.

    The result does not depend on it. A dataset that fits on the device needs none.
    """
    graphs: bool = True
    """Capture the step on a GPU. A profiled run never does: a graph shows none of its phases."""


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """Device, precision and name that a `DeviceConfig` resolves to."""

    device: torch.device
    bf16: bool
    """Autocast in bfloat16, and images in channels_last: only together are they fast on a CPU."""

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """Return the precision in use."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def name(self) -> str:
        """Model of the device, for people and for the fingerprint."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        able = torch.cpu.get_capabilities()
        # Several generations have one name; what they multiply with decides the last bits.
        unit = " AMX" if able.get("amx_bf16") else ""
        name = able.get("cpu_name", "unknown")
        return f"cpu {name} {torch.backends.cpu.get_cpu_capability()}{unit}"

    def memory_bytes(self) -> int:
        """Return the peak so far: of the device, or of the process on a CPU."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def deterministic_device(
    device_config: DeviceConfig, *, precision: Precision
) -> Iterator[DeviceContext]:
    """Make the device ready and deterministic; put the process's settings back afterwards.

    Raises SpecError if this machine has no such device.
    """
    # cuBLAS reads it when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = _device(device_config.device)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    was_exact = torch.are_deterministic_algorithms_enabled()
    filler: Any = torch.utils.deterministic  # a module whose one attribute is made at run time
    was_filling = filler.fill_uninitialized_memory
    torch.set_num_threads(device_config.threads or threads)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it did not write; filling it first only costs time.
    filler.fill_uninitialized_memory = False
    try:
        with _current(device):
            yield DeviceContext(device=device, bf16=_is_bf16(precision, device))
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(was_exact)
        filler.fill_uninitialized_memory = was_filling


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one of this thread: the one that calls without a device are for.

    A synchronization before a capture is such a call, and so is each new handle of a library.
    Leaving it starts no CUDA on the device of before, as `set_device` would.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"{name!r} is no device", field="device") from None
    if device.type not in {"cpu", "cuda"}:
        raise SpecError(f"{name!r} is neither cpu nor cuda", field="device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SpecError(f"this machine has no {name!r}", field="device")
    return device


def _is_bf16(precision: Precision, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))

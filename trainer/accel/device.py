"""The device that a run uses, and the settings that make it repeat itself bit for bit."""

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.utils.deterministic

from trainer.accel.ops import fused_kernels_problem, fused_kernels_version
from trainer.schema.choices import Precision
from trainer.schema.errors import SpecError

BF16_CAPABILITY = (8, 0)
"""Compute capability of the first GPUs that multiply bfloat16; torch emulates it on older ones."""
IEEE = "ieee"
FUSED_KERNELS = "MOCO_FUSED_KERNELS"
"""Variable that asks for fused kernels: of `python -m trainer`, and of a worker for its jobs."""
TRUE = frozenset({"1", "true", "yes", "on"})


def asks_for_fused_kernels(environment: Mapping[str, str]) -> bool:
    """Return whether the environment asks for fused kernels."""
    return environment.get(FUSED_KERNELS, "").lower() in TRUE


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
    fused_kernels: bool = False
    """Make views and split batch norm by our own kernels on a GPU, where they can run.

    Off until `python -m benchmarks kernels` has passed on such a GPU. The last bits differ.
    """


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """Device, precision and name that a `DeviceConfig` resolves to."""

    device: torch.device
    bf16: bool
    """Autocast in bfloat16, and images in channels_last: only together are they fast on a CPU."""
    warning: str | None = None
    """Sentence for the user about a slower fallback."""
    fused_kernels: bool = False
    """True if they were asked for and can run."""
    fused_problem: str = ""
    """Reason why fused kernels that were asked for cannot run."""

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

    def backend_settings(self) -> dict[str, str]:
        """Return what the results of CUDA's libraries depend on; empty on a CPU."""
        if self.device.type != "cuda":
            return {}
        return {
            "tf32": f"conv {_CONV.fp32_precision}, matmul {_MATMUL.fp32_precision}",
            "cublas_workspace": os.environ["CUBLAS_WORKSPACE_CONFIG"],
            "cudnn": str(_CUDNN.version()),
            **({"fused_kernels": fused_kernels_version()} if self.fused_kernels else {}),
        }

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
    arithmetic = _arithmetic(precision, device)
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
        with _ieee_fp32(), _current(device):
            wanted = device_config.fused_kernels and device.type == "cuda"
            problem = fused_kernels_problem(device) if wanted else ""
            yield DeviceContext(
                device,
                arithmetic.bf16,
                arithmetic.warning,
                fused_kernels=wanted and not problem,
                fused_problem=problem,
            )
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(was_exact)
        filler.fill_uninitialized_memory = was_filling


_CUDNN: Any = torch.backends.cudnn  # torch has no types for its settings
_CONV, _RNN = _CUDNN.conv, _CUDNN.rnn
_MATMUL: Any = torch.backends.cuda.matmul


@contextmanager
def _ieee_fp32() -> Iterator[None]:
    """Compute fp32 as IEEE 754 has it. cuDNN's default is TF32, with ten bits of a fraction.

    Torch refuses to read the older setting of cuDNN, which names TF32, while this one says
    otherwise, so nothing here may use it.
    """
    parts = (_CONV, _RNN, _MATMUL)
    before = [part.fp32_precision for part in parts]
    for part in parts:
        part.fp32_precision = IEEE
    try:
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one of this thread: the one that calls without a device are for.

    A synchronization before a capture is such a call, and so is each new handle of a library.
    Leaving it starts no CUDA on the device of before, as setting it would.
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


class _Arithmetic(NamedTuple):
    bf16: bool
    warning: str | None = None


def _arithmetic(precision: Precision, device: torch.device) -> _Arithmetic:
    """Return what a precision means on a device. Raises SpecError for emulated bfloat16."""
    if precision == "fp32":
        return _Arithmetic(bf16=False)
    if device.type == "cuda":
        return _arithmetic_of_card(precision, device)
    able = torch.cpu.get_capabilities()
    has_unit = bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return _Arithmetic(bf16=precision == "bf16" or has_unit)


def _arithmetic_of_card(precision: Precision, device: torch.device) -> _Arithmetic:
    capability = torch.cuda.get_device_capability(device)
    if capability >= BF16_CAPABILITY:
        return _Arithmetic(bf16=True)
    card = f"{torch.cuda.get_device_name(device)} (compute capability {capability[0]}."
    card += f"{capability[1]})"
    if precision == "bf16":
        raise SpecError(
            f"{card} only emulates bf16, more slowly than fp32; use auto or fp32, or a GPU of "
            "compute capability 8.0 or newer",
            field="precision",
        )
    warning = f"The precision auto is fp32 here: {card} only emulates bf16, more slowly."
    return _Arithmetic(bf16=False, warning=warning)

"""Errors of torch and CUDA by their cause: no memory left, or a broken device.

Only torch's own allocator raises OutOfMemoryError. cuDNN, cuBLAS, the driver and pinned memory
raise RuntimeError or AcceleratorError, told apart by their words.
"""

import errno
import re
from collections.abc import Iterator

import torch

MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "_alloc_failed",
    "allocation_failed",
    "bad_alloc",
)
LIBRARY_WORDS = ("cuda", "nvidia", "nvml", "cudnn", "cublas")
BROKEN_WORDS = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "unspecified launch failure",
    "launch timed out",
    "device-side assert",
    "hardware stack error",
    "hardware error",
    "uncorrectable",
    "xid",
    "gpu is lost",
    "fallen off the bus",
    "no cuda-capable device",
    "no nvidia driver",
    "busy or unavailable",
    "driver shutting down",
    "driver version is insufficient",
    "driver on your system is too old",
    "initialization error",
    "system not yet initialized",
    "no kernel image",
    "unknown error",
    "execution_failed",
    "_not_initialized",
)
"""Words of errors after which no CUDA call of the process succeeds, or none ever did."""
_TRIED = re.compile(r"(?:tried|Tried|Unable) to allocate ([\d.]+ (?:[KMGTP]?i?B|bytes))")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was used up, of the device or of the host.

    Out of memory inside of a capture may arrive as a capture that was invalidated, behind which the
    cause stands.
    """
    return any(map(_is_memory, _causes(error)))


def is_broken_device(error: BaseException) -> bool:
    """Return whether the device is of no more use to this process."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    words = str(error).lower()
    return _has(words, LIBRARY_WORDS) and _has(words, BROKEN_WORDS)


def first_line(error: BaseException) -> str:
    """Return the first line of an error without torch's advice to programmers."""
    line = str(error).partition("\n")[0].partition(" If reserved but unallocated")[0]
    return line.rstrip(". ") or type(error).__name__


def memory_figures(error: BaseException, device: torch.device) -> str:
    """Return what was tried, what is free and the peak of the process, as a part of a sentence."""
    tried = next(filter(None, (_TRIED.search(str(each)) for each in _causes(error))), None)
    parts = [f"tried to allocate {tried[1]}"] if tried else []
    if device.type == "cuda":
        free, total = _free_and_total(device)
        if total:
            parts.append(f"{gib(free)} of {gib(total)} is free")
        parts.append(f"the peak of this job was {gib(torch.cuda.max_memory_allocated(device))}")
    return ", ".join(parts)


def memory_for_this_process(device: torch.device) -> int | None:
    """Return the bytes of a GPU that no other process holds; None where that is not known."""
    if device.type != "cuda":
        return None
    free, total = _free_and_total(device)
    return free + torch.cuda.memory_reserved(device) if total else None


def gib(size_bytes: int) -> str:
    """Return a size in GiB, as torch writes it."""
    return f"{size_bytes / 2**30:.2f} GiB"


def _free_and_total(device: torch.device) -> tuple[int, int]:
    try:
        return torch.cuda.mem_get_info(device)
    except RuntimeError:  # the driver has no memory left to answer
        return 0, 0


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _has(str(error).lower(), MEMORY_WORDS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it, as far as they are torch's."""
    while error is not None:
        yield error
        if not isinstance(error, RuntimeError):
            return
        error = error.__cause__ or error.__context__


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)

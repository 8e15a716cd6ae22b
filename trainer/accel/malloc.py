"""Allocators of a process that trains: memory that a step frees is there for the next one."""

import ctypes
import os
from typing import Any

import torch

EXPANDABLE = "expandable_segments:True"
TORCH_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The second is the older name of the first."""

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
"""Numbers of glibc's mallopt."""
MADV_HUGEPAGE = 14
"""Constant of Linux' madvise."""
TRIM_BYTES, PAD_BYTES = 2**31 - 1, 1 << 26
ROOM_BYTES = 7 << 28
"""Address space in large pages, below what the C library would give back."""
LARGE_PAGE_BYTES = 1 << 21


def set_up_allocators(device: str) -> None:
    """Set up the memory of a process for the device that it will train on, before it does.

    On a GPU the C library keeps its own rules: there it has the threads that decode images, which
    would share one arena.
    """
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        _expand_segments()
    else:
        keep_freed_memory()


def _expand_segments() -> None:
    """Let torch grow the blocks that it takes from a GPU, so that batches of many sizes fit.

    It reads the variable at the first allocation. CUDA graphs and their pools may use such blocks:
    torch leaves out pools with an allocator of their own alone
    (https://github.com/pytorch/pytorch/pull/185818). A virtual GPU may lack the driver's calls for
    it; whoever sets one of the variables has decided.
    """
    if not any(name in os.environ for name in TORCH_VARIABLES):
        os.environ[TORCH_VARIABLES[0]] = EXPANDABLE


def keep_freed_memory() -> None:
    """Tell the C library to keep freed large blocks; for a process that trains on a CPU.

    Each step frees the same blocks that the next one asks for. If they were returned to the kernel,
    each page would fault and be zeroed again: a tenth of a step of a small encoder on a CPU. What
    is kept may as well be in pages of 2 MB, of which the core looks up a few in place of thousands:
    another tenth. Where the C library is not glibc, or the kernel has no such pages, nothing
    happens.
    """
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    for name, value in (
        (M_MMAP_MAX, 0),
        (M_TRIM_THRESHOLD, TRIM_BYTES),
        (M_TOP_PAD, PAD_BYTES),
        (M_ARENA_MAX, 1),  # otherwise other threads allocate in arenas with small pages
    ):
        libc.mallopt(name, value)
    _in_large_pages(libc)


def _in_large_pages(libc: Any) -> None:  # noqa: ANN401  # ctypes has no types
    """Reserve memory for the next allocations: allocate a block and free it, untouched."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start: int | None = libc.malloc(ROOM_BYTES)
    if start is None:
        return  # the system refuses a block of this size
    first = -(-start // LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES
    libc.madvise(first, (start + ROOM_BYTES - first) & -LARGE_PAGE_BYTES, MADV_HUGEPAGE)
    libc.free(start)

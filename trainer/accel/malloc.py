"""Memory that a step frees is kept for the next one, in large pages."""

import ctypes
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
"""Numbers of glibc's mallopt."""
MADV_HUGEPAGE = 14
"""Constant of Linux' madvise."""
TRIM_BYTES, PAD_BYTES = 2**31 - 1, 1 << 26
ROOM_BYTES = 7 << 28
"""Address space in large pages, below what the C library would give back."""
LARGE_PAGE_BYTES = 1 << 21


def keep_freed_memory() -> None:
    """Tell the C library to keep freed large blocks; for a process that trains.

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

"""Memory that a step frees is kept for the next one."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Numbers of glibc's mallopt."""
TRIM_BYTES, PAD_BYTES = 2**31 - 1, 1 << 26


def keep_freed_memory() -> None:
    """Tell the C library not to give large blocks back to the kernel. For a process that trains.

    Each step frees the same blocks that the next one asks for. Given back, they come again page by
    page, each one a fault and zeroed: a tenth of a step of a small encoder on a CPU. Where the C
    library is not glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in (
            (M_MMAP_MAX, 0),
            (M_TRIM_THRESHOLD, TRIM_BYTES),
            (M_TOP_PAD, PAD_BYTES),
        ):
            mallopt(name, value)

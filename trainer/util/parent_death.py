"""Parent-death signal of Linux: a process that must not outlive the one that started it."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent_pid: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process `number` when its parent dies; leave if it already has.

    Call it in the child, between fork and exec or right after the fork.
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)

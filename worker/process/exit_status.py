"""Exit codes of processes that left no result, in words."""

import signal

LOST = "worker_lost"
"""Code of an attempt whose process, or worker, has ended without a result."""


def describe_exit(status: int) -> str:
    """Return how a process ended: a verb and the reason. Negative: the signal that ended it."""
    if status == -signal.SIGKILL:
        return (
            "was killed (SIGKILL), most likely by the system for want of memory: "
            "see the kernel's log, and lower batch_rows or give the worker more memory."
        )
    if status < 0:
        return f"crashed ({signal.Signals(-status).name}) before it could say why."
    return f"left with exit code {status} before it could say why."

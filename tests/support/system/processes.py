"""Making processes that a test can look at, and looking at them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def interruptible(
    arguments: Sequence[str], env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process that Ctrl-C reaches as at a terminal; gone, with its pipes, afterwards.

    What a shell starts in the background ignores SIGINT, and whatever that starts inherits it.
    A signal that is caught instead gets its default back in a new program.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str = "") -> float:
    """Wait for a condition; the seconds it took. Fails after `timeout_s`."""
    began_s = time.monotonic()
    while not condition():
        elapsed_s = time.monotonic() - began_s
        assert elapsed_s < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - began_s


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children of a process."""
    pids = []
    for task in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{task}/children").read_text()
        pids += [int(word) for word in text.split()]
    return pids

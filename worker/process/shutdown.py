"""Shutdown of a worker, and the pipes that wake its selectors."""

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType


class WakePipe:
    """Pipe that makes a signal or another thread's news visible to a selector."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the read end, for a selector."""
        return self._read

    def set(self) -> None:
        """Wake the selector; safe in a signal handler."""
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self._write, b"!")

    def clear(self) -> None:
        """Discard what was written so far."""
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def wait(self, timeout_s: float) -> None:
        """Return once it was set since the last wait, or after the timeout."""
        select.select([self._read], [], [], timeout_s)
        self.clear()

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)


class Shutdown:
    """Request to leave: hand the jobs over first, but leave at once after a second signal."""

    def __init__(self, wake_pipes: Iterable[WakePipe]) -> None:
        """`wake_pipes` are all that a signal must wake; none may be closed before this is gone."""
        self._wake_pipes = tuple(wake_pipes)
        self._signals = 0
        self.requested_at_s: float | None = None

    @property
    def requested(self) -> bool:
        """True if the worker should hand over its jobs and leave."""
        return self.requested_at_s is not None

    @property
    def at_once(self) -> bool:
        """True if the worker should leave without handing over."""
        return self._signals > 1

    def ask(self) -> None:
        """Ask to leave, with the grace of the stop sequence."""
        if self.requested_at_s is None:
            self.requested_at_s = time.monotonic()
        for pipe in self._wake_pipes:
            pipe.set()

    def listen(self) -> None:
        """Install the handlers of SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.ask()

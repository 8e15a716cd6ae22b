"""Why a worker should stop, and the means to wake whoever must know."""

import os
import signal
import time
from contextlib import suppress
from types import FrameType


class Wake:
    """A pipe that turns a signal or another thread's news into something a selector sees."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """For a selector."""
        return self._read

    def set(self) -> None:
        """Wake the selector; safe in a signal handler."""
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self._write, b"!")

    def clear(self) -> None:
        """Forget what was said so far."""
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)


class Shutdown:
    """Asked once: hand the job over and leave. Asked twice by a signal: leave at once."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._signals = 0
        self.asked_at_s: float | None = None

    @property
    def asked(self) -> bool:
        """Whether to leave after handing over."""
        return self.asked_at_s is not None

    @property
    def at_once(self) -> bool:
        """Whether to leave without handing over."""
        return self._signals > 1

    def ask(self) -> None:
        """Leave, with the grace of the stop ladder."""
        if self.asked_at_s is None:
            self.asked_at_s = time.monotonic()
        self._wake.set()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.ask()

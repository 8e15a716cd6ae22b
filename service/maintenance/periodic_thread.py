"""Base class for threads that run periodically."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class PeriodicThread(ABC):
    """Thread that calls `run_once` at once, and again `every_s` after each call has ended."""

    def __init__(self, name: str, *, every_s: float) -> None:
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def run_once(self) -> None:
        """Do the work once. An exception ends the thread."""

    def __enter__(self) -> Self:
        """Start it; the block's end stops it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Begin. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until it has."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            self.run_once()
            wait_s = self._every_s

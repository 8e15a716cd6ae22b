"""Moves the clock of all leases while Redis answers, so that lost workers lose their jobs."""

import threading

import structlog

from service.store.errors import StoreError
from service.store.queue import JobQueue

log = structlog.get_logger("service.reaper")


class Reaper:
    """A thread that ends tick k a tick's length after it saw k. Any number of them may run.

    The length is measured on the monotonic clock, and begins again after every failure: while
    the store is away no tick passes, so no lease is lost in an outage.
    """

    def __init__(self, queue: JobQueue, *, tick_s: float) -> None:
        self._queue, self._tick_s = queue, tick_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until it has."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        is_away = False
        while not self._stopping.wait(0.0 if seen is None and not is_away else self._tick_s):
            try:
                seen = self._queue.current_tick() if seen is None else self._queue.tick(seen)
                is_away = False
            except StoreError as error:
                if not is_away:
                    log.warning("store_away", error=str(error))
                seen, is_away = None, True

"""Moves the clock of all leases while Redis answers, so that lost workers lose their jobs."""

import threading
from collections.abc import Callable

import structlog

from service.store.errors import StoreError, StoreLost
from service.store.queue import JobQueue
from trainer.errors import TrainerError

log = structlog.get_logger("service.reaper")


class Reaper:
    """A thread that ends tick k a tick's length after it saw k. Any number of them may run.

    The length is measured on the monotonic clock, and begins again after every failure: while
    the store is away no tick passes, so no lease is lost in an outage.
    """

    def __init__(
        self, queue: JobQueue, *, tick_s: float, on_lost: Callable[[], object] | None = None
    ) -> None:
        """`on_lost` is called when Redis was emptied; it may raise StoreError and OSError."""
        self._queue, self._tick_s, self._on_lost = queue, tick_s, on_lost
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
            except StoreLost as error:
                seen, is_away = None, True
                self._rebuild(error)
            except StoreError as error:
                if not is_away:
                    log.warning("store_away", error=str(error))
                seen, is_away = None, True

    def _rebuild(self, lost: StoreLost) -> None:
        """Called again after the next tick if it fails."""
        log.error("store_lost", error=str(lost))
        if self._on_lost is None:
            return
        try:
            self._on_lost()
        except (StoreError, TrainerError, OSError) as error:
            log.error("not_rebuilt", error=str(error))

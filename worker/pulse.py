"""The worker's heartbeat, and its share of the clock that all leases are measured by."""

import logging
import threading
from collections.abc import Callable

from service.store.errors import StoreError

LOG = logging.getLogger(__name__)


class Pulse:
    """A thread that ticks and beats. An outage stops both, so no lease runs out in one.

    A tick moves the clock from k to k + 1 only if k is still what this worker saw one `tick_s`
    ago on its own monotonic clock; any number of workers may do this at once.
    """

    def __init__(
        self,
        *,
        current_tick: Callable[[], int],
        tick: Callable[[int], int],
        beat: Callable[[], bool],
        tick_s: float,
        beat_every_ticks: int,
        on_drain: Callable[[bool], None],
    ) -> None:
        self._current_tick, self._tick, self._beat = current_tick, tick, beat
        self._tick_s, self._beat_every_ticks, self._on_drain = tick_s, beat_every_ticks, on_drain
        self._leaving = threading.Event()
        self._beat_now = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def changed(self) -> None:
        """The worker became busy or idle: say so with the next tick."""
        self._beat_now.set()

    def _run(self) -> None:
        turns = 0
        while not self._leaving.is_set():
            try:
                if turns % self._beat_every_ticks == 0 or self._beat_now.is_set():
                    self._beat_now.clear()
                    self._on_drain(self._beat())
                seen = self._current_tick()
                if self._leaving.wait(self._tick_s):
                    return
                self._tick(seen)
                turns += 1
            except StoreError as error:
                LOG.debug("no pulse: %s", error)
                self._leaving.wait(self._tick_s)

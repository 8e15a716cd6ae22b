"""Heartbeat of a worker, which also advances the clock that all leases are measured by."""

import logging
import threading
from collections.abc import Callable

from service.maintenance.periodic_thread import PeriodicThread
from service.store.lease_clock import LeaseClock
from service.store.records import DrainState
from service.store.store_errors import StoreError

LOG = logging.getLogger(__name__)


class Heartbeat(PeriodicThread):
    """Advance the lease clock and report this worker. An outage stops both, so no lease expires."""

    def __init__(
        self,
        clock: LeaseClock,
        *,
        beat: Callable[[], DrainState],
        tick_s: float,
        beat_every_ticks: int,
        on_reply: Callable[[DrainState], None],
    ) -> None:
        super().__init__("heartbeat", every_s=tick_s)
        self._clock, self._beat, self._on_reply = clock, beat, on_reply
        self._beat_every_ticks, self._ticks = beat_every_ticks, 0
        self._beat_now = threading.Event()

    def changed(self) -> None:
        """Report with the next tick that the worker became busy or idle."""
        self._beat_now.set()

    def run_once(self) -> None:
        """Report if it is time, then advance the clock."""
        try:
            if self._ticks % self._beat_every_ticks == 0 or self._beat_now.is_set():
                self._beat_now.clear()
                self._on_reply(self._beat())
            self._clock.advance()
            self._ticks += 1
        except StoreError as error:
            self._clock.restart()
            LOG.debug("no heartbeat: %s", error)

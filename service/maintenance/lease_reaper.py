"""Expiry of leases: the clock moves while Redis answers, so that lost workers lose their jobs."""

from collections.abc import Callable

import structlog

from service.maintenance.periodic_thread import PeriodicThread
from service.store.job_queue import JobQueue
from service.store.lease_clock import LeaseClock
from service.store.store_errors import StoreError, StoreLost
from trainer.schema.errors import TrainerError

log = structlog.get_logger("service.maintenance.lease_reaper")


class LeaseReaper(PeriodicThread):
    """Thread that advances the lease clock. Any number of them may run.

    The length is measured on the monotonic clock, and begins again after every failure: while
    the store is away no tick passes, so no lease is lost in an outage.
    """

    def __init__(
        self,
        queue: JobQueue,
        *,
        tick_s: float,
        on_lost: Callable[[], object] | None = None,
        on_answer: Callable[[], object] | None = None,
    ) -> None:
        """Call `on_lost` when Redis was emptied, and `on_answer` whenever it answers.

        Both may raise StoreError and OSError.
        """
        super().__init__("lease-reaper", every_s=tick_s)
        self._clock = LeaseClock(queue.current_tick, queue.tick)
        self._on_lost, self._on_answer = on_lost, on_answer
        self._is_away = False

    def run_once(self) -> None:
        """Read the clock, or move it on from what was read or moved a tick ago."""
        try:
            self._clock.advance()
            self._is_away = False
            if self._on_answer is not None:
                self._on_answer()
        except StoreLost as error:
            self._is_away = True
            self._rebuild(error)
        except StoreError as error:
            if not self._is_away:
                log.warning("store_away", error=str(error))
            self._is_away = True
        except OSError as error:
            log.error("not_settled", error=str(error))

    def _rebuild(self, lost: StoreLost) -> None:
        """Rebuild the store; tried again after the next tick if it fails."""
        log.error("store_lost", error=str(lost))
        if self._on_lost is None:
            return
        try:
            self._on_lost()
        except (StoreError, TrainerError, OSError) as error:
            log.error("not_rebuilt", error=str(error))

"""Lease renewal in a thread of its own: a busy supervisor must not lose the lease."""

import logging
import threading
from collections.abc import Callable

from service.store.records import Desired
from service.store.store_errors import StoreError, StoreUnavailable
from trainer.util.failpoints import failpoint

LOG = logging.getLogger(__name__)


class LeaseRenewer:
    """Renew the lease every `every_s` and keep the state that the store wants the job in.

    An outage changes nothing: the child trains on, and the first renewal that is answered tells
    whether the lease survived.
    """

    def __init__(
        self, renew: Callable[[], Desired], *, every_s: float, on_change: Callable[[], None]
    ) -> None:
        """`on_change` is called from the thread when `desired` or `lost` changes."""
        self._renew, self._every_s, self._on_change = renew, every_s, on_change
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.desired: Desired = "run"
        self.lost = False
        self.away = False
        """True if the last renewal went unanswered."""

    def __enter__(self) -> "LeaseRenewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def lose(self) -> None:
        """Mark the lease as lost: the store has refused another call of this attempt."""
        if not self.lost:
            self.lost = True
            self._leaving.set()
            self._on_change()

    def set_desired(self, desired: Desired) -> None:
        """Record the desired state; any answer of the store may carry it."""
        if desired != self.desired:
            self.desired = desired
            self._on_change()

    def _run(self) -> None:
        while not self._leaving.wait(self._every_s):
            try:
                failpoint("worker.pre_renew")
                desired = self._renew()
            except StoreUnavailable as error:
                if not self.away:
                    LOG.warning("the store is down, training continues: %s", error)
                self.away = True
                continue
            except StoreError as error:
                LOG.warning("the lease is lost: %s", error)
                self.lose()
                return
            if self.away:
                LOG.info("the store is back, and the lease is still held")
            self.away = False
            self.set_desired(desired)

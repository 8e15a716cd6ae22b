"""Keeping a lease alive from a thread of its own: a busy supervisor must not lose it."""

import logging
import threading
from collections.abc import Callable

from service.store.errors import StoreError, StoreUnavailable
from service.store.models import Desired
from trainer.failpoints import reach

LOG = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews every `every_s` and remembers what the store wants of the job.

    An outage changes nothing: the child trains on, and the first renewal that is answered says
    whether the lease outlived it.
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
        """Whether the last renewal went unanswered."""

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def lose(self) -> None:
        """The store has refused this attempt elsewhere: it is over."""
        if not self.lost:
            self.lost = True
            self._leaving.set()
            self._on_change()

    def hear(self, desired: Desired) -> None:
        """Any answer of the store may say what is wanted."""
        if desired != self.desired:
            self.desired = desired
            self._on_change()

    def _run(self) -> None:
        while not self._leaving.wait(self._every_s):
            try:
                reach("worker.pre_renew")
                desired = self._renew()
            except StoreUnavailable as error:
                if not self.away:
                    LOG.warning("the store is away, training goes on: %s", error)
                self.away = True
                continue
            except StoreError as error:
                LOG.warning("the lease is lost: %s", error)
                self.lose()
                return
            if self.away:
                LOG.info("the store is back, and the lease is still held")
            self.away = False
            self.hear(desired)

"""Periodic removal of what retention selects, and of old probes."""

import time

import structlog

from service.errors import ServiceError
from service.jobs.neighbour_jobs import forget_old
from service.ledger.journaled_store import JournaledStore
from service.maintenance.periodic_thread import PeriodicThread
from service.maintenance.retention import (
    CALM_S,
    Removable,
    RetentionContext,
    due,
    removable,
    trim_events,
)
from service.settings import ApiSettings
from service.store.store_errors import DatasetInUse, NotFound, StoreError, WrongState

EVERY_S = 3600.0

log = structlog.get_logger("service.maintenance.cleanup")


class CleanupThread(PeriodicThread):
    """Thread that cleans up at the start and then once an hour. Any number of them may run.

    It looks more often where something is kept for less, or where there is a limit of bytes.
    """

    def __init__(self, journal: JournaledStore, settings: ApiSettings) -> None:
        super().__init__("cleanup", every_s=_every_s(settings))
        self._journal, self._settings = journal, settings
        self._trimmed = set[str]()

    def run_once(self) -> None:
        """Remove what is due."""
        context = RetentionContext(self._journal, self._settings, time.time())
        try:
            for item in due(list(removable(context)), bytes_max=self._settings.removable_bytes_max):
                if self._stopping.is_set():
                    return
                self._remove(item)
            if count := trim_events(context, self._trimmed):
                log.info("events_removed", count=count)
        except (StoreError, OSError) as error:
            log.warning("retention_stopped", error=str(error))
        self._forget_probes()

    def _remove(self, item: Removable) -> None:
        try:
            item.remove()
        except (NotFound, WrongState, DatasetInUse, ServiceError) as error:  # it is of use again
            log.info("kept", kind=item.kind, id=item.id, reason=str(error))
        except OSError as error:
            log.warning("not_removed", kind=item.kind, id=item.id, error=str(error))
        else:
            age_s = round(item.age_s)
            log.info("removed", kind=item.kind, id=item.id, age_s=age_s, size_bytes=item.size_bytes)

    def _forget_probes(self) -> None:
        try:
            if count := forget_old(self._journal.store, self._journal.data_dir):
                log.info("probes_removed", count=count)
        except (StoreError, OSError) as error:
            log.warning("probes_not_removed", error=str(error))


def _every_s(settings: ApiSettings) -> float:
    kept_s = (
        settings.upload_kept_s,
        settings.dataset_unusable_kept_s,
        settings.checkpoint_kept_s,
        settings.event_kept_s,
        settings.log_kept_s,
        settings.job_kept_s or EVERY_S,
        EVERY_S if settings.removable_bytes_max is None else CALM_S,
    )
    return min(EVERY_S, *kept_s)

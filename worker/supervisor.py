"""The supervisor: claim a job, run it in a child process, claim the next, until asked to leave.

It imports no torch and makes no CUDA context: only the forkserver's children do.
"""

import logging
import os
import secrets
import socket
import time
from typing import Any

from service.store.lease_clock import LeaseClock
from service.store.records import Lease, WorkerRecord, WorkerState
from service.store.store_errors import StoreError, StoreUnavailable
from worker.attempt.attempt_runner import AttemptRunner, WorkerContext
from worker.attempt.event_sender import RETRY_S
from worker.health.disk_space import DiskSpaceGuard
from worker.health.heartbeat import Heartbeat
from worker.process.forkserver_client import ForkserverDied

LOG = logging.getLogger(__name__)
IDLE_WAIT_S = 1.0
"""Longest sleep of an idle worker: bounds the delay of a signal, or of a job without a hint."""
START_TRIES = 3
"""Forkservers in a row that may die before they have imported what they need."""
LOSS_PAUSE_S = 1.0
"""Pause after an attempt that failed through no fault of the user: another worker goes first."""


class CannotStart(Exception):
    """The worker cannot train anything on this machine."""


class Supervisor:
    """One worker. `run` returns once asked to leave, after it has handed over its job."""

    def __init__(self, context: WorkerContext, worker_id: str, info: dict[str, Any]) -> None:
        self._context, self._info = context, info
        self.worker_id = worker_id
        self._started_at_s = time.time()
        self._job_id: str | None = None
        self._draining = False
        settings = context.settings
        self._disk = DiskSpaceGuard(settings.data_dir, free_bytes_min=settings.disk_free_bytes_min)

    def run(self) -> None:
        """Work until asked to leave. Raises CannotStart if no child can be made."""
        settings, queue = self._context.settings, self._context.store.queue
        with Heartbeat(
            LeaseClock(queue.current_tick, queue.tick),
            beat=lambda: self._context.store.workers.beat(self._record()),
            tick_s=settings.tick_s,
            beat_every_ticks=max(1, round(settings.renew_every_s / settings.tick_s)),
            on_drain=self._set_draining,
        ) as heartbeat:
            try:
                while not self._leaving():
                    self._ensure_forkserver()
                    lease = self._claim()
                    if lease:
                        self._work(lease, heartbeat)
            finally:
                self._context.forkserver.close()
        self._leave()

    def _leaving(self) -> bool:
        return self._context.shutdown.requested

    def _set_draining(self, is_draining: bool) -> None:
        """Record the store's answer to a heartbeat: a drained worker gets no job."""
        if is_draining != self._draining:
            LOG.info("drained: no new job" if is_draining else "undrained: jobs are taken again")
        self._draining = is_draining

    def _ensure_forkserver(self) -> None:
        """Return when the forkserver has imported everything, or when asked to leave."""
        forkserver, tries = self._context.forkserver, 0
        while not self._leaving():
            forkserver.ensure()
            if forkserver.is_ready:
                return
            try:
                forkserver.wait_ready(IDLE_WAIT_S)
            except TimeoutError:
                continue
            except ForkserverDied as error:
                tries += 1
                if tries == START_TRIES:
                    raise CannotStart(
                        "The process that imports torch ends before it is ready; its last words "
                        f"are above. Try `python -c 'import worker.process.child_main'`. ({error})"
                    ) from error
                continue
            LOG.info("the forkserver is ready")
            return

    def _claim(self) -> Lease | None:
        """Return the next lease; None when asked to leave or when the forkserver has died."""
        queue, pools = self._context.store.queue, self._context.settings.pools
        nonce = secrets.token_hex(16)
        while not self._leaving():
            if self._draining or not self._disk.has_room():
                time.sleep(IDLE_WAIT_S)
                continue
            try:
                lease = queue.claim(pools=pools, worker_id=self.worker_id, nonce=nonce)
                if lease:
                    return lease
                queue.wait(pools, IDLE_WAIT_S)
                self._context.forkserver.poll()
            except StoreUnavailable as error:
                LOG.debug("no claim: %s", error)
                time.sleep(RETRY_S)
            except ForkserverDied:
                return None
        return None

    def _work(self, lease: Lease, heartbeat: Heartbeat) -> None:
        self._job_id = lease.job_id
        heartbeat.changed()
        try:
            healthy = AttemptRunner(self._context, lease).run()
        finally:
            self._job_id = None
            heartbeat.changed()
        if not healthy and not self._leaving():
            time.sleep(LOSS_PAUSE_S)

    def _record(self) -> WorkerRecord:
        state: WorkerState = "busy" if self._job_id else "idle"
        return WorkerRecord(
            id=self.worker_id,
            pools=self._context.settings.pools,
            device=self._context.device,
            host=socket.gethostname(),
            pid=os.getpid(),
            state=state,
            job_id=self._job_id,
            seen_at_s=time.time(),
            started_at_s=self._started_at_s,
            info=self._info,
        )

    def _leave(self) -> None:
        """Take the worker off the list; if the store is away, the entry expires by itself."""
        try:
            self._context.store.workers.leave(self.worker_id)
        except StoreError as error:
            LOG.debug("left without telling the store: %s", error)

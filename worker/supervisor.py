"""The supervisor: claims a job, runs it in a child, claims the next, until it is told to leave.

It imports no torch and makes no CUDA context: the forkserver's children do.
"""

import logging
import os
import secrets
import socket
import time
from typing import Any

from service.store.errors import StoreError, StoreUnavailable
from service.store.lease_clock import LeaseClock
from service.store.models import Lease, WorkerRecord, WorkerState
from worker.attempt.event_sender import RETRY_S
from worker.attempt.runner import JobRun, Workplace
from worker.health.disk_space import Room
from worker.health.heartbeat import Pulse
from worker.process.forkserver_client import NurseryDied

LOG = logging.getLogger(__name__)
IDLE_WAIT_S = 1.0
"""Longest time an idle worker sleeps: how soon it sees a signal, or a job whose hint was lost."""
WARM_TRIES = 3
"""Forkservers that may die in a row before they have imported what they need."""
LOSS_PAUSE_S = 1.0
"""After an attempt that failed through our own fault: leave the job to another worker first."""


class CannotStart(Exception):
    """The worker can train nothing on this machine."""


class Supervisor:
    """One worker. `run` returns after it was told to leave, and hands its job over first."""

    def __init__(self, place: Workplace, worker_id: str, info: dict[str, Any]) -> None:
        self._place, self._info = place, info
        self.worker_id = worker_id
        self._started_at_s = time.time()
        self._job_id: str | None = None
        self._draining = False
        settings = place.settings
        self._room = Room(settings.data_dir, free_bytes_min=settings.disk_free_bytes_min)

    def run(self) -> None:
        """Work until told to leave. Raises CannotStart if no child can be made."""
        settings, queue = self._place.settings, self._place.store.queue
        with Pulse(
            LeaseClock(queue.current_tick, queue.tick),
            beat=lambda: self._place.store.workers.beat(self._record()),
            tick_s=settings.tick_s,
            beat_every_ticks=max(1, round(settings.renew_every_s / settings.tick_s)),
            on_drain=self._hear_drain,
        ) as pulse:
            try:
                while not self._leaving():
                    self._warm()
                    lease = self._claim()
                    if lease:
                        self._work(lease, pulse)
            finally:
                self._place.nursery.close()
        self._leave()

    def _leaving(self) -> bool:
        return self._place.shutdown.asked

    def _hear_drain(self, is_draining: bool) -> None:
        """Note what the store answers to a heartbeat: it gives a drained worker no job."""
        if is_draining != self._draining:
            LOG.info("drained: no new job" if is_draining else "undrained: jobs are taken again")
        self._draining = is_draining

    def _warm(self) -> None:
        """Return when the forkserver has imported everything, or when told to leave."""
        nursery, tries = self._place.nursery, 0
        while not self._leaving():
            nursery.ensure()
            if nursery.is_ready:
                return
            try:
                nursery.wait_ready(IDLE_WAIT_S)
            except TimeoutError:
                continue
            except NurseryDied as error:
                tries += 1
                if tries == WARM_TRIES:
                    raise CannotStart(
                        "The process that imports torch ends before it is ready; its last words "
                        f"are above. Try `python -c 'import worker.process.child_main'`. ({error})"
                    ) from error
                continue
            LOG.info("the forkserver is ready")
            return

    def _claim(self) -> Lease | None:
        """The next lease; None when told to leave or when the forkserver must be looked after."""
        queue, pools = self._place.store.queue, self._place.settings.pools
        nonce = secrets.token_hex(16)
        while not self._leaving():
            if self._draining or not self._room.is_there():
                time.sleep(IDLE_WAIT_S)
                continue
            try:
                lease = queue.claim(pools=pools, worker_id=self.worker_id, nonce=nonce)
                if lease:
                    return lease
                queue.wait(pools, IDLE_WAIT_S)
                self._place.nursery.poll()
            except StoreUnavailable as error:
                LOG.debug("no claim: %s", error)
                time.sleep(RETRY_S)
            except NurseryDied:
                return None
        return None

    def _work(self, lease: Lease, pulse: Pulse) -> None:
        self._job_id = lease.job_id
        pulse.changed()
        try:
            healthy = JobRun(self._place, lease).run()
        finally:
            self._job_id = None
            pulse.changed()
        if not healthy and not self._leaving():
            time.sleep(LOSS_PAUSE_S)

    def _record(self) -> WorkerRecord:
        state: WorkerState = "busy" if self._job_id else "idle"
        return WorkerRecord(
            id=self.worker_id,
            pools=self._place.settings.pools,
            device=self._place.device,
            host=socket.gethostname(),
            pid=os.getpid(),
            state=state,
            job_id=self._job_id,
            seen_at_s=time.time(),
            started_at_s=self._started_at_s,
            info=self._info,
        )

    def _leave(self) -> None:
        """Take the worker off the list; one that cannot say so is forgotten in time."""
        try:
            self._place.store.workers.leave(self.worker_id)
        except StoreError as error:
            LOG.debug("left without a word: %s", error)

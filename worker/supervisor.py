"""The supervisor: claim jobs while slots are free, until asked to leave.

The main thread claims; each attempt has a thread and a child process of its own.

It imports no torch and makes no CUDA context: only the forkserver's children do.
"""

import logging
import os
import secrets
import socket
import time
from contextlib import suppress
from typing import Any

from service.store.job_queue import Offer
from service.store.lease_clock import LeaseClock
from service.store.records import DrainState, Lease, SeatTaken, WorkerRecord, WorkerState
from service.store.store_errors import StoreError, StoreUnavailable
from worker.attempt.attempt_runner import WorkerContext
from worker.attempt.event_sender import RETRY_S
from worker.attempt.running_attempts import RunningAttempts
from worker.health.disk_space import DiskSpaceGuard
from worker.health.heartbeat import Heartbeat
from worker.process.forkserver_client import ForkserverDied
from worker.slots import SlotPool

LOG = logging.getLogger(__name__)
IDLE_WAIT_S = 1.0
"""Longest sleep of an idle worker: bounds the delay of a signal, or of a job without a hint."""
BUSY_WAIT_S = 0.2
"""The same while attempts run: the end of one may free the slots that the next job waits for."""
START_TRIES = 3
"""Forkservers in a row that may die before they have imported what they need."""
SEAT_WAIT_S = 0.5
"""Pause between two claims of a worker that waits for the other nodes of a gang."""
LOSS_PAUSE_S = 1.0
"""Pause after an attempt that failed through no fault of the user."""


def free_endpoint(address: str | None) -> str:
    """Return `host:port` of a free port, where a gang could meet; empty without an address.

    Raises CannotStart if it is not one of this machine.
    """
    if address is None:
        return ""
    try:
        with socket.create_server((address, 0)) as listener:
            return f"{address}:{listener.getsockname()[1]}"
    except OSError as error:
        raise CannotStart(
            f"MOCO_NODE_ADDRESS is {address}, which is no address of this machine: "
            f"{error.strerror}. Give the one that other machines reach, or leave it out."
        ) from error


class CannotStart(Exception):
    """The worker cannot train anything on this machine."""


class Supervisor:
    """One worker. `run` returns once asked to leave, after it has handed over its jobs."""

    def __init__(
        self,
        context: WorkerContext,
        worker_id: str,
        slots: SlotPool,
        *,
        device: str,
        info: dict[str, Any],
    ) -> None:
        """`device` and `info` are for people to read."""
        self._context, self._slots, self._device, self._info = context, slots, device, info
        self.worker_id = worker_id
        self._started_at_s = time.time()
        self._is_seated = False
        self._renew_offer()
        self._rest_until_s = 0.0
        self._ready_pid: int | None = None
        self._draining, self._undrains = False, 0
        settings, queue = context.settings, context.store.queue
        self._disk = DiskSpaceGuard(settings.data_dir, free_bytes_min=settings.disk_free_bytes_min)
        self._attempts = RunningAttempts(context, slots, on_change=self._on_change)
        self._heartbeat = Heartbeat(
            LeaseClock(queue.current_tick, queue.tick),
            beat=lambda: context.store.workers.beat(self._record()),
            tick_s=settings.tick_s,
            beat_every_ticks=max(1, round(settings.renew_every_s / settings.tick_s)),
            on_reply=self._take_reply,
        )

    def run(self) -> None:
        """Work until asked to leave. Raises CannotStart if no child can be made."""
        with self._heartbeat:
            try:
                while not self._leaving():
                    self._ensure_forkserver()
                    self._collect()
                    self._claim()
            finally:
                self._hand_over()
        self._leave()

    def _hand_over(self) -> None:
        """End all attempts within the grace, then the forkserver."""
        if self._is_seated:
            with suppress(StoreError):  # then it ends like a lease
                self._context.store.queue.leave_seat(self._nonce)
        self._context.shutdown.ask()  # an error asks too: the other attempts save
        try:
            self._attempts.finish()
        finally:
            self._context.forkserver.close()

    def _leaving(self) -> bool:
        return self._context.shutdown.requested

    def _take_reply(self, reply: DrainState) -> None:
        """Record the store's answer to a heartbeat: a drained worker gets no job."""
        if reply.draining != self._draining:
            LOG.info("drained: no new job" if reply.draining else "undrained: jobs are taken again")
        if reply.undrains > self._undrains and self._slots.drained:
            LOG.info("undrained: all slots take jobs again")
            self._slots.undrain()
            self._on_change()
        self._draining, self._undrains = reply.draining, reply.undrains

    def _on_change(self) -> None:
        """Report with the next tick, and look for the next job now."""
        self._heartbeat.changed()
        self._context.wake_pipe.set()

    def _ensure_forkserver(self) -> None:
        """Return when the forkserver has imported everything, or when asked to leave."""
        forkserver, tries = self._context.forkserver, 0
        while not self._leaving():
            forkserver.ensure()
            if forkserver.pid == self._ready_pid:
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
            self._ready_pid = forkserver.pid
            LOG.info("the forkserver is ready")

    def _collect(self) -> None:
        """Rest if an attempt failed through no fault of the user: another worker goes first."""
        if not self._attempts.collect():
            self._rest_until_s = time.monotonic() + LOSS_PAUSE_S

    def _claim(self) -> None:
        """Start the next attempt if there is one, and slots for it; else wait for a moment."""
        rest_s = self._rest_until_s - time.monotonic()
        if rest_s > 0.0:
            self._context.wake_pipe.wait(rest_s)
            return
        if not self._slots.free or self._draining or not self._disk.has_room():
            self._context.wake_pipe.wait(IDLE_WAIT_S)
            return
        try:
            lease = self._next_lease()
            if self._is_seated:  # its slots wait with it for the other nodes of the gang
                self._context.wake_pipe.wait(SEAT_WAIT_S)
            elif lease is None:
                wait_s = BUSY_WAIT_S if self._attempts.jobs else IDLE_WAIT_S
                self._context.store.queue.wait(self._context.settings.pools, wait_s)
        except StoreUnavailable as error:
            LOG.debug("no claim: %s", error)
            self._context.wake_pipe.wait(RETRY_S)

    def _next_lease(self) -> Lease | None:
        """Claim a job that fits into the free slots and start it; None if there is none."""
        offer = Offer(self.worker_id, self._slots.free, self._slots.total, self._endpoint)
        claimed = self._context.store.queue.claim_seat(
            pools=self._context.settings.pools,
            nonce=self._nonce,  # the same until it is answered: a lost reply loses no lease
            offer=offer,
        )
        self._is_seated = isinstance(claimed, SeatTaken)
        if isinstance(claimed, SeatTaken):
            return None
        self._renew_offer()  # answered: after a lease or a seat given back, this nonce gets nothing
        if claimed:
            self._attempts.start(claimed)
        return claimed

    def _renew_offer(self) -> None:
        """Make the next claim a new one."""
        self._nonce = secrets.token_hex(16)
        self._endpoint = free_endpoint(self._context.settings.node_address)

    def _record(self) -> WorkerRecord:
        jobs, drained = self._attempts.jobs, self._slots.drained
        state: WorkerState = "busy" if jobs else "idle"
        if not len(self._slots):
            state = "draining"  # as if an operator had drained it
        return WorkerRecord(
            id=self.worker_id,
            pools=self._context.settings.pools,
            device=self._device,
            host=socket.gethostname(),
            pid=os.getpid(),
            state=state,
            job_id=jobs[0] if jobs else None,
            seen_at_s=time.time(),
            started_at_s=self._started_at_s,
            slots=len(self._slots) or len(self._slots.devices),
            slots_busy=self._slots.busy,
            jobs=jobs,
            info=self._info | {"drained": drained},
        )

    def _leave(self) -> None:
        """Take the worker off the list; if the store is away, the entry expires by itself."""
        try:
            self._context.store.workers.leave(self.worker_id)
        except StoreError as error:
            LOG.debug("left without telling the store: %s", error)

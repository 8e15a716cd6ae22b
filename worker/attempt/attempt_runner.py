"""One lease from claim to end: prepare, supervise the child, report the outcome to the store."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from service.ledger.ledger_writer import AttemptLedger
from service.store.records import Desired, JobRecord, Lease, Status
from service.store.store import Store
from service.store.store_errors import StoreError, StoreUnavailable
from trainer.schema.errors import RankLost, StorageError, TrainerError
from trainer.schema.events import Checkpointed, Ended, Event
from trainer.util.failpoints import failpoint
from worker.attempt.decision import INTERNAL, PREEMPTED, Decision, decide, of_failure
from worker.attempt.event_sender import RETRY_S, EventSender
from worker.attempt.leftovers import (
    remove_old_checkpoints,
    remove_partial_files,
    remove_upload,
)
from worker.attempt.progress import EventFold, PendingEvent
from worker.attempt.verify_files import is_checkpoint_whole, verify_published
from worker.attempt.workspace import Workspace, workspace_of
from worker.health.lease_renewer import LeaseRenewer
from worker.process.child_monitor import ChildMonitor, DesiredState
from worker.process.exit_status import LOST
from worker.process.forkserver_client import ForkRefused, ForkserverClient, ForkserverDied
from worker.process.shutdown import Shutdown, WakePipe
from worker.process.stop_sequence import StopSequence
from worker.settings import WorkerSettings
from worker.slots import Allocation
from worker.telemetry.metrics import WorkerMetrics

LOG = logging.getLogger(__name__)
MEMBERS_WAIT_S = 5.0
"""Longest wait of a gang's first node, whose ranks have lost a peer, for the cause."""


@dataclass(frozen=True)
class WorkerContext:
    """Everything that stays the same from job to job."""

    settings: WorkerSettings
    store: Store
    forkserver: ForkserverClient
    metrics: WorkerMetrics
    shutdown: Shutdown
    wake_pipe: WakePipe
    """Pipe that wakes the main thread."""
    threads: int | None
    """Threads of a training process in one slot; None: one per core."""


class StoreSink:
    """Sink that writes the events of one attempt to the store, under its lease."""

    def __init__(
        self,
        store: Store,
        workspace: Workspace,
        ledger: AttemptLedger,
        *,
        on_desired: Callable[[Desired], None],
    ) -> None:
        self._store, self._workspace, self._ledger = store, workspace, ledger
        self._on_desired = on_desired

    def append(self, batch: tuple[PendingEvent, ...]) -> None:
        """Append a batch; the store answers with the state that the user wants."""
        texts = [pending.text for pending in batch]
        failpoint("worker.pre_append")
        queue = self._store.queue
        desired = queue.append(self._workspace.lease, texts, progress=batch[-1].progress)
        self._on_desired(desired)

    def point(self, checkpoint: Checkpointed) -> None:
        """Move the job's pointer to `checkpoint` if its bytes are still the announced ones."""
        if not is_checkpoint_whole(self._workspace.out, checkpoint):
            # After an outage a newer one has replaced it; its event follows.
            LOG.info("checkpoint %s is not on the disk any more", checkpoint.path)
            return
        failpoint("worker.pre_checkpoint")
        path = self._workspace.relative(checkpoint.path)
        fields = checkpoint.model_dump(exclude={"type", "path"})
        self._store.queue.checkpoint(self._workspace.lease, path=path, **fields)
        self._ledger.checkpoint(path=path, **fields)
        failpoint("worker.post_checkpoint")


class AttemptRunner:
    """Run one attempt at a job; return once it is completed, failed, released or lost."""

    def __init__(self, context: WorkerContext, lease: Lease, allocation: Allocation) -> None:
        self._context, self._lease, self._allocation = context, lease, allocation
        self._stop_sequence = StopSequence(context.settings.grace_s)
        self._renewer = LeaseRenewer(
            lambda: context.store.queue.renew(lease),
            every_s=context.settings.renew_every_s,
            on_change=allocation.wake_pipe.set,
        )
        self._events = EventFold(batch_rows=0)
        self._ended: Ended | None = None
        self._ledger: AttemptLedger | None = None
        """None while the attempt has no folder of its own."""
        self.decision: Decision | None = None
        """Decision on the attempt; None until it has ended."""

    def run(self) -> bool:
        """Work, then report. Returns False if the attempt failed through no fault of the user."""
        began_s = time.monotonic()
        attempt = self._lease.job_id, self._lease.attempt
        LOG.info("job %s: attempt %d begins", *attempt)
        workspace: Workspace | None = None
        with self._renewer:
            try:
                workspace = workspace_of(self._lease, self._context.settings.data_dir)
                failpoint("worker.claimed")
                self._ledger = workspace.prepare()
                failpoint("worker.prepared")
                decision = self._work(workspace, self._ledger)
            except TrainerError as error:
                decision = of_failure(error.code, error.detail, error.next_step)
            except OSError as error:
                decision = of_failure(StorageError.code, f"The attempt has no folder: {error}.")
            if decision.act == "wait":
                self._await_end()
            elif self._is_member and decision.act == "fail":
                self._await_end(2 * MEMBERS_WAIT_S)  # the first node reports it for all
        self.decision = decision
        if decision.act == "wait":
            LOG.info("job %s: attempt %d: this node is done", *attempt)
        elif self._renewer.lost:
            LOG.warning("job %s: attempt %d: the lease has expired", *attempt)
        elif self._report(decision) and decision.act == "complete" and workspace:
            self._remove_leftovers(workspace)
        if workspace and self._ledger:
            remove_partial_files(workspace.out)  # the child is gone, and no one else writes there
        self._context.metrics.job_ended(self._lease, time.monotonic() - began_s, self._record())
        return decision.act != "release" or decision.code == PREEMPTED

    def _work(self, workspace: Workspace, ledger: AttemptLedger) -> Decision:
        """Run the child and decide how the attempt ended."""
        context = self._context
        context.metrics.job_started(self._lease, workspace.spec)
        self._events = EventFold(batch_rows=workspace.batch_rows)
        request = workspace.child_request(
            self._allocation, threads=context.threads, address=context.settings.node_address
        )
        wake_pipe = self._allocation.wake_pipe
        monitor = ChildMonitor(context.forkserver, wake_pipe, self._stop_sequence)
        with EventSender(
            StoreSink(context.store, workspace, ledger, on_desired=self._renewer.set_desired),
            limit=context.settings.outbox_events,
            flush_every_s=context.settings.flush_every_s,
            on_lost=self._renewer.lose,
        ) as sender:

            def on_event(event: Event, text: str) -> None:
                pending, urgent = self._events.take(event, text)
                sender.put(pending, urgent=urgent)
                context.metrics.take(self._lease.job_id, pending)

            try:
                status = monitor.run(request, desired=self._desired_state, on_event=on_event)
            except (ForkserverDied, ForkRefused) as error:
                return Decision("release", LOST, f"No training process could be made: {error}.")
            decision = self._decide(workspace, status)
            while not sender.drained(RETRY_S) and not self._out_of_time():
                pass
        self._log_losses(monitor, sender)
        return decision

    def _decide(self, workspace: Workspace, status: int) -> Decision:
        """Decide how the attempt ended; a success only if the published bytes are on the disk."""
        published = self._events.published
        # On a full disk the result file may be missing although the event arrived.
        self._ended = workspace.ended() or self._events.ended
        if self._lease.seat and not self._is_member and self._is_loss_of_peer():
            self._ended = self._ended_of_members(workspace) or self._ended
        is_requested = self._stop_sequence.requested
        if self._is_member and self._ended is None and status == 0:
            return Decision("wait")  # its ranks leave no result when they end well
        decision = decide(self._ended, status, asked_to_stop=is_requested, published=published)
        if decision.act == "complete" and published and not self._renewer.lost:
            verify_published(workspace.out, published)
        return decision

    @property
    def _is_member(self) -> bool:
        """True on a node of a gang that is not the first: it can renew and release, no more."""
        return self._lease.seat is not None and self._lease.seat.node_rank > 0

    def _await_end(self, limit_s: float = math.inf) -> None:
        """Keep this node's seat until the first node has reported, which ends the lease."""
        until_s = time.monotonic() + limit_s
        while not self._renewer.lost and not self._context.shutdown.requested:
            if time.monotonic() > until_s:
                return
            self._allocation.wake_pipe.wait(RETRY_S)

    def _is_loss_of_peer(self) -> bool:
        return self._ended is not None and self._ended.code == RankLost.code

    def _ended_of_members(self, workspace: Workspace) -> Ended | None:
        """Return the cause on another node, which may take a moment to write it down."""
        until_s = time.monotonic() + MEMBERS_WAIT_S
        while (ended := workspace.ended_of_members()) is None and time.monotonic() < until_s:
            if self._renewer.lost:
                return None
            self._allocation.wake_pipe.wait(RETRY_S)
        return ended

    def _desired_state(self) -> DesiredState:
        if self._renewer.lost or self._context.shutdown.at_once:
            return DesiredState.KILL
        if self._context.shutdown.requested or self._renewer.desired != "run":
            return DesiredState.STOP
        return DesiredState.RUN

    def _report(self, decision: Decision) -> bool:
        """Report to the store, as often as it takes. Returns False if the store refused."""
        while True:
            try:
                self._send_decision(decision)
            except StoreUnavailable:
                if self._out_of_time():
                    return False
                time.sleep(RETRY_S)
                continue
            except StoreError as error:
                LOG.warning("job %s: %s", self._lease.job_id, error)
                return False
            LOG.info("job %s: %s %s", self._lease.job_id, decision.act, decision.code)
            return True

    def _send_decision(self, decision: Decision) -> None:
        queue, published = self._context.store.queue, self._events.published
        if self._is_member or (decision.code == INTERNAL and not self._failed_twice_before()):
            decision = replace(decision, act="release")
        if decision.act == "release":
            failpoint("worker.pre_release")
            status = queue.release(self._lease, code=decision.code, message=decision.message)
            self._journal_end("release", status, decision)
        elif decision.act == "fail":
            failpoint("worker.pre_fail")
            status = queue.fail(
                self._lease,
                code=decision.code,
                message=decision.message,
                hint=decision.hint,
                retry=decision.retry,
            )
            self._journal_end("fail", status, decision)
        elif published:
            folder = f"{self._lease.folder}/attempts/{self._lease.attempt}/{published.folder}"
            facts = self._facts_json()
            failpoint("worker.pre_complete")
            queue.complete(
                self._lease, artifacts=published.files, artifacts_folder=folder, facts_json=facts
            )
            if self._ledger:
                self._ledger.completed(
                    artifacts=published.files,
                    artifacts_folder=folder,
                    facts_json=facts,
                    progress=self._events.progress,
                )
            failpoint("worker.post_complete")

    def _journal_end(
        self, verb: Literal["fail", "release"], status: Status, decision: Decision
    ) -> None:
        """Write the same to the ledger: the disk alone must tell how the attempt ended."""
        if self._ledger:
            why = (decision.code, decision.message, decision.hint)
            self._ledger.ended(verb, status, why=why, progress=self._events.progress)

    def _out_of_time(self) -> bool:
        """Return whether the worker must leave without reporting to the store."""
        shutdown = self._context.shutdown
        if shutdown.requested_at_s is None:
            return False
        left_s = shutdown.requested_at_s + self._context.settings.grace_s - time.monotonic()
        return shutdown.at_once or left_s <= 0

    def _failed_twice_before(self) -> bool:
        """Return whether the two attempts before this one ended in an unexplained failure too."""
        rows = self._context.store.jobs.attempts(self._lease.job_id)
        before = [row.code for row in rows if row.attempt < self._lease.attempt]
        return before[-2:] == [INTERNAL, INTERNAL]

    def _facts_json(self) -> str | None:
        facts = self._ended.facts if self._ended else None
        return facts.model_dump_json() if facts else None

    def _remove_leftovers(self, workspace: Workspace) -> None:
        """After success, remove files that are of no more use. A failure only costs space."""
        try:
            if self._ended and self._ended.facts:
                remove_upload(workspace.job_folder)
                return
            newest, best = self._events.checkpoint, self._events.progress.get("best")
            remove_old_checkpoints(
                workspace.job_folder,
                keep=workspace.out / newest.path if newest else None,
                best_step=best["step"] if best else None,
            )
        except OSError as error:
            LOG.warning("job %s: left-overs stay: %s", self._lease.job_id, error)

    def _record(self) -> JobRecord | None:
        """Return the job as the store has it, for its times; None if the store does not answer."""
        try:
            return self._context.store.jobs.get(self._lease.job_id)
        except StoreError:
            return None

    def _log_losses(self, monitor: ChildMonitor, sender: EventSender) -> None:
        if monitor.invalid_lines:
            LOG.warning(
                "job %s: %d lines were no events", self._lease.job_id, monitor.invalid_lines
            )
        if sender.dropped:
            LOG.warning(
                "job %s: %d readings were dropped in an outage; metrics.jsonl has them",
                self._lease.job_id,
                sender.dropped,
            )

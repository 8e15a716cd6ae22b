"""One lease from beginning to end: prepare, attend the child, tell the store how it ended."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from service.ledger.writer import AttemptLedger
from service.store.errors import StoreError, StoreUnavailable
from service.store.models import Desired, JobRecord, Lease, Status
from service.store.store import Store
from trainer.errors import StorageError, TrainerError
from trainer.events import Checkpointed, Ended, Event
from trainer.failpoints import reach
from worker.attempt import verify_files
from worker.attempt.event_sender import RETRY_S, Outbox
from worker.attempt.outcome import INTERNAL, LOST, PREEMPTED, Verdict, judge, of_failure
from worker.attempt.progress import Heard, Staged
from worker.attempt.workspace import Attempt, attempt_of, forget_drafts
from worker.health.lease_renewer import LeaseKeeper
from worker.process.child_monitor import Attendant, Wish
from worker.process.forkserver_client import ForkRefused, Nursery, NurseryDied
from worker.process.shutdown import Shutdown, Wake
from worker.process.stop_sequence import StopLadder
from worker.settings import WorkerSettings
from worker.telemetry.metrics import WorkerMetrics

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workplace:
    """What stays the same from job to job."""

    settings: WorkerSettings
    store: Store
    nursery: Nursery
    metrics: WorkerMetrics
    shutdown: Shutdown
    wake: Wake
    device: str


class StoreSink:
    """Where the events of one attempt go: the store, under its lease."""

    def __init__(
        self,
        store: Store,
        attempt: Attempt,
        ledger: AttemptLedger,
        *,
        hear: Callable[[Desired], None],
    ) -> None:
        self._store, self._attempt, self._ledger, self._hear = store, attempt, ledger, hear

    def append(self, batch: tuple[Staged, ...]) -> None:
        """Tell a batch; the answer says what the user wants of the job."""
        texts = [staged.text for staged in batch]
        reach("worker.pre_append")
        queue = self._store.queue
        self._hear(queue.append(self._attempt.lease, texts, progress=batch[-1].progress))

    def point(self, checkpoint: Checkpointed) -> None:
        """Move the job's checkpoint here, if the bytes are still what was announced."""
        if not verify_files.is_whole(self._attempt.out, checkpoint):
            # After an outage a newer one has replaced it; that one follows.
            LOG.info("checkpoint %s is not on the disk any more", checkpoint.path)
            return
        reach("worker.pre_checkpoint")
        path = self._attempt.relative(checkpoint.path)
        told = checkpoint.model_dump(exclude={"type", "path"})
        self._store.queue.checkpoint(self._attempt.lease, path=path, **told)
        self._ledger.checkpoint(path=path, **told)
        reach("worker.post_checkpoint")


class JobRun:
    """One attempt at one job. `run` returns when it is completed, failed, handed back or lost."""

    def __init__(self, place: Workplace, lease: Lease) -> None:
        self._place, self._lease = place, lease
        self._ladder = StopLadder(place.settings.grace_s)
        self._keeper = LeaseKeeper(
            lambda: place.store.queue.renew(lease),
            every_s=place.settings.renew_every_s,
            on_change=place.wake.set,
        )
        self._heard = Heard(batch_rows=0)
        self._ended: Ended | None = None
        self._ledger: AttemptLedger | None = None
        """None while the attempt has no folder of its own."""

    def run(self) -> bool:
        """Work, then settle. False if the attempt failed through no fault of the user's."""
        began_s = time.monotonic()
        LOG.info("job %s: attempt %d begins", self._lease.job_id, self._lease.attempt)
        attempt: Attempt | None = None
        with self._keeper:
            try:
                attempt = attempt_of(self._lease, self._place.settings.data_dir)
                reach("worker.claimed")
                self._ledger = attempt.prepare()
                reach("worker.prepared")
                verdict = self._work(attempt, self._ledger)
            except TrainerError as error:
                verdict = of_failure(error.code, error.detail, error.next_step)
            except OSError as error:
                verdict = of_failure(StorageError.code, f"The attempt has no folder: {error}.")
        if self._keeper.lost:
            LOG.warning("job %s: attempt %d is over", self._lease.job_id, self._lease.attempt)
        elif self._settle(verdict) and verdict.act == "complete" and attempt:
            self._tidy(attempt)
        if attempt and self._ledger:
            forget_drafts(attempt.out)  # the child is gone, and no one else writes there
        self._place.metrics.job_ended(self._lease, time.monotonic() - began_s, self._record())
        return verdict.act != "release" or verdict.code == PREEMPTED

    def _work(self, attempt: Attempt, ledger: AttemptLedger) -> Verdict:
        """Run the child and judge its end."""
        place = self._place
        place.metrics.job_started(self._lease, attempt.spec)
        self._heard = Heard(batch_rows=attempt.batch_rows)
        orders = attempt.orders(device=place.device, threads=place.settings.threads)
        attendant = Attendant(place.nursery, place.wake, self._ladder)
        with Outbox(
            StoreSink(place.store, attempt, ledger, hear=self._keeper.hear),
            limit=place.settings.outbox_events,
            flush_every_s=place.settings.flush_every_s,
            on_lost=self._keeper.lose,
        ) as outbox:

            def on_event(event: Event, text: str) -> None:
                staged, urgent = self._heard.take(event, text)
                outbox.put(staged, urgent=urgent)
                place.metrics.take(self._lease.job_id, staged)

            try:
                status = attendant.watch(orders, wish=self._wish, on_event=on_event)
            except (NurseryDied, ForkRefused) as error:
                return Verdict("release", LOST, f"No training process could be made: {error}.")
            verdict = self._judge(attempt, status)
            while not outbox.drained(RETRY_S) and not self._out_of_time():
                pass
        self._report(attendant, outbox)
        return verdict

    def _judge(self, attempt: Attempt, status: int) -> Verdict:
        """How it ended; a success only if the published bytes are on the disk."""
        published = self._heard.published
        # On a full disk the result file may be missing where the event came through.
        self._ended = attempt.ended() or self._heard.ended
        verdict = judge(self._ended, status, asked_to_stop=self._ladder.asked, published=published)
        if verdict.act == "complete" and published and not self._keeper.lost:
            verify_files.verify(attempt.out, published)
        return verdict

    def _wish(self) -> Wish:
        if self._keeper.lost or self._place.shutdown.at_once:
            return Wish.KILL
        if self._place.shutdown.asked or self._keeper.desired != "run":
            return Wish.STOP
        return Wish.RUN

    def _settle(self, verdict: Verdict) -> bool:
        """Tell the store, as often as it takes. False if it did not want to know."""
        while True:
            try:
                self._tell(verdict)
            except StoreUnavailable:
                if self._out_of_time():
                    return False
                time.sleep(RETRY_S)
                continue
            except StoreError as error:
                LOG.warning("job %s: %s", self._lease.job_id, error)
                return False
            LOG.info("job %s: %s %s", self._lease.job_id, verdict.act, verdict.code)
            return True

    def _tell(self, verdict: Verdict) -> None:
        queue, published = self._place.store.queue, self._heard.published
        if verdict.code == INTERNAL and not self._failed_alike_before():
            verdict = replace(verdict, act="release")
        if verdict.act == "release":
            reach("worker.pre_release")
            status = queue.release(self._lease, code=verdict.code, message=verdict.message)
            self._note("release", status, verdict)
        elif verdict.act == "fail":
            reach("worker.pre_fail")
            status = queue.fail(
                self._lease,
                code=verdict.code,
                message=verdict.message,
                hint=verdict.hint,
                retry=verdict.retry,
            )
            self._note("fail", status, verdict)
        elif published:
            folder = f"{self._lease.folder}/attempts/{self._lease.attempt}/{published.folder}"
            facts = self._facts_json()
            reach("worker.pre_complete")
            queue.complete(
                self._lease, artifacts=published.files, artifacts_folder=folder, facts_json=facts
            )
            if self._ledger:
                self._ledger.completed(
                    artifacts=published.files,
                    artifacts_folder=folder,
                    facts_json=facts,
                    progress=self._heard.progress,
                )
            reach("worker.post_complete")

    def _note(self, verb: Literal["fail", "release"], status: Status, verdict: Verdict) -> None:
        """The same in the ledger, so that the disk alone knows how the attempt ended."""
        if self._ledger:
            why = (verdict.code, verdict.message, verdict.hint)
            self._ledger.ended(verb, status, why=why, progress=self._heard.progress)

    def _out_of_time(self) -> bool:
        """Whether the worker must leave without having told the store."""
        shutdown = self._place.shutdown
        if shutdown.asked_at_s is None:
            return False
        left_s = shutdown.asked_at_s + self._place.settings.grace_s - time.monotonic()
        return shutdown.at_once or left_s <= 0

    def _failed_alike_before(self) -> bool:
        """Whether an unexplained failure happened in both attempts before this one too."""
        rows = self._place.store.jobs.attempts(self._lease.job_id)
        before = [row.code for row in rows if row.attempt < self._lease.attempt]
        return before[-2:] == [INTERNAL, INTERNAL]

    def _facts_json(self) -> str | None:
        facts = self._ended.facts if self._ended else None
        return facts.model_dump_json() if facts else None

    def _tidy(self, attempt: Attempt) -> None:
        """After success: remove what the result has made useless. A failure costs only space."""
        try:
            if self._ended and self._ended.facts:
                verify_files.forget_upload(attempt.job_folder)
                return
            newest = self._heard.checkpoint
            verify_files.forget_checkpoints(
                attempt.job_folder, keep=attempt.out / newest.path if newest else None
            )
        except OSError as error:
            LOG.warning("job %s: left-overs stay: %s", self._lease.job_id, error)

    def _record(self) -> JobRecord | None:
        """The job as the store has it, for its times; not worth waiting for."""
        try:
            return self._place.store.jobs.get(self._lease.job_id)
        except StoreError:
            return None

    def _report(self, attendant: Attendant, outbox: Outbox) -> None:
        if attendant.garbage_lines:
            LOG.warning(
                "job %s: %d lines were no events", self._lease.job_id, attendant.garbage_lines
            )
        if outbox.dropped:
            LOG.warning(
                "job %s: %d readings were dropped in an outage; metrics.jsonl has them",
                self._lease.job_id,
                outbox.dropped,
            )

"""Delivery of events to the store: buffered in order during an outage, otherwise sent in batches.

One thread does all fenced writes of a running attempt, so a checkpoint's pointer moves after the
events before it, and the pipe of the child is never left unread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from service.store.store_errors import StoreError, StoreUnavailable
from trainer.schema.events import Checkpointed, Ingesting, Logged, Profiled, Stepped
from worker.attempt.progress import PendingEvent

LOG = logging.getLogger(__name__)
BATCH_EVENTS = 256
"""Most events in one call."""
RETRY_S = 0.5
"""Pause after a call that the store did not answer."""


class EventBuffer:
    """Bounded FIFO queue of events. Full, it drops the oldest reading, then the oldest log line.

    `metrics.jsonl` in the attempt's folder keeps every reading, so nothing is lost for good. Events
    that change the job (checkpoints, evaluations, the end) are never dropped.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self._queue: deque[PendingEvent] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, pending: PendingEvent) -> None:
        """Append an event; drop an old one if that makes one too many."""
        self._queue.append(pending)
        if len(self._queue) > self.limit:
            self._drop_oldest(Stepped | Profiled | Ingesting) or self._drop_oldest(Logged)

    def take(self, rows: int) -> tuple[PendingEvent, ...]:
        """Remove and return the oldest `rows` events."""
        return tuple(self._queue.popleft() for _ in range(min(rows, len(self._queue))))

    def _drop_oldest(self, kind: type | object) -> bool:
        for index, pending in enumerate(self._queue):
            if isinstance(pending.event, kind):  # type: ignore[arg-type]  # a union is fine here
                del self._queue[index]
                self.dropped += 1
                return True
        return False


def newest_checkpoint(batch: tuple[PendingEvent, ...]) -> Checkpointed | None:
    """Return the last checkpoint of a batch; earlier ones may be gone from the disk by now."""
    events = [pending.event for pending in batch if isinstance(pending.event, Checkpointed)]
    return events[-1] if events else None


class Sink(Protocol):
    """Receiver of an attempt's events. Either call raises StoreUnavailable to be made again."""

    def append(self, batch: tuple[PendingEvent, ...]) -> None:
        """Append these events to the job."""

    def point(self, checkpoint: Checkpointed) -> None:
        """Move the job's pointer to this checkpoint."""


class EventSender:
    """Thread that sends events. Any error but StoreUnavailable means that the lease is lost."""

    def __init__(
        self, sink: Sink, *, limit: int, flush_every_s: float, on_lost: Callable[[], None]
    ) -> None:
        self._sink, self._flush_every_s, self._on_lost = sink, flush_every_s, on_lost
        self._buffer = EventBuffer(limit)
        self._sending: tuple[PendingEvent, ...] = ()
        self._pointer: Checkpointed | None = None
        self._changed = threading.Condition()
        self._urgent = self._closing = self._over = False
        self._thread = threading.Thread(target=self._run, name="event-sender", daemon=True)

    def __enter__(self) -> "EventSender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending; undelivered events stay undelivered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def dropped(self) -> int:
        """Events lost to an outage that outlasted the buffer."""
        return self._buffer.dropped

    def put(self, pending: PendingEvent, *, urgent: bool) -> None:
        """Send within `flush_every_s`, or at once if it is urgent."""
        with self._changed:
            self._buffer.push(pending)
            self._urgent |= urgent
            self._changed.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until everything is delivered or the lease is lost; False after the timeout."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._over or not self._waiting(), timeout_s)

    def _waiting(self) -> bool:
        return bool(len(self._buffer) or self._sending or self._pointer)

    def _run(self) -> None:
        try:
            sent_at_s = float("-inf")
            while self._due(sent_at_s):
                sent_at_s = time.monotonic()
                self._send()
        except StoreError as error:
            LOG.warning("the store takes no more of this attempt: %s", error)
            self._on_lost()
        except Exception:
            # Training on without reporting would be worse than another attempt.
            LOG.exception("the events of this attempt cannot be sent")
            self._on_lost()
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _due(self, sent_at_s: float) -> bool:
        """Wait until a batch is due; False when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting())
            wait_s = sent_at_s + self._flush_every_s - time.monotonic()
            self._changed.wait_for(lambda: self._closing or self._urgent, max(0.0, wait_s))
            self._urgent = False
            return not self._closing

    def _send(self) -> None:
        """Send one batch, then its checkpoint. An unanswered call is repeated unchanged."""
        with self._changed:
            self._sending = self._sending or self._buffer.take(BATCH_EVENTS)
        try:
            if self._sending:
                self._sink.append(self._sending)
                self._mark_sent(newest_checkpoint(self._sending) or self._pointer)
            if self._pointer:
                self._sink.point(self._pointer)
                self._mark_sent(None)
        except StoreUnavailable:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, RETRY_S)

    def _mark_sent(self, pointer: Checkpointed | None) -> None:
        """Record that the batch was delivered; `pointer` is the checkpoint still to be sent."""
        with self._changed:
            self._sending, self._pointer = (), pointer
            self._changed.notify_all()

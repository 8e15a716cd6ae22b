"""Events on their way to the store: kept in order while it is away, sent in batches when it is not.

One thread does all fenced writes of a running attempt, so that a checkpoint's pointer moves after
the events before it and the pipe of the child is never left unread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from service.store.errors import StoreError, StoreUnavailable
from trainer.events import Checkpointed, Ingesting, Logged, Profiled, Stepped
from worker.attempt.progress import Staged

LOG = logging.getLogger(__name__)
BATCH_EVENTS = 256
"""Most events of one call."""
RETRY_S = 0.5
"""Pause after a call that the store did not answer."""


class EventBuffer:
    """A bounded line of events. Full, it drops the oldest reading, then the oldest sentence.

    `metrics.jsonl` in the attempt's folder keeps every reading, so nothing is lost for good; what
    changes the job (checkpoints, evaluations, the end) is never dropped.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self._line: deque[Staged] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def push(self, staged: Staged) -> None:
        """Add at the end; drop what may be dropped if that is one too many."""
        self._line.append(staged)
        if len(self._line) > self.limit:
            self._drop_oldest(Stepped | Profiled | Ingesting) or self._drop_oldest(Logged)

    def take(self, rows: int) -> tuple[Staged, ...]:
        """Remove and return the oldest `rows` events."""
        return tuple(self._line.popleft() for _ in range(min(rows, len(self._line))))

    def _drop_oldest(self, kind: type | object) -> bool:
        for index, staged in enumerate(self._line):
            if isinstance(staged.event, kind):  # type: ignore[arg-type]  # a union is fine here
                del self._line[index]
                self.dropped += 1
                return True
        return False


def newest_checkpoint(batch: tuple[Staged, ...]) -> Checkpointed | None:
    """The last checkpoint of a batch: those before it may be gone from the disk by now."""
    found = [staged.event for staged in batch if isinstance(staged.event, Checkpointed)]
    return found[-1] if found else None


class Sink(Protocol):
    """Where an attempt's events go. Either call raises StoreUnavailable to be made again."""

    def append(self, batch: tuple[Staged, ...]) -> None:
        """Tell these events."""

    def point(self, checkpoint: Checkpointed) -> None:
        """Move the job's checkpoint here."""


class Outbox:
    """The thread that sends. Any refusal but StoreUnavailable means that the lease is lost."""

    def __init__(
        self, sink: Sink, *, limit: int, flush_every_s: float, on_lost: Callable[[], None]
    ) -> None:
        self._sink, self._flush_every_s, self._on_lost = sink, flush_every_s, on_lost
        self._buffer = EventBuffer(limit)
        self._sending: tuple[Staged, ...] = ()
        self._pointer: Checkpointed | None = None
        self._changed = threading.Condition()
        self._urgent = self._closing = self._over = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def __enter__(self) -> "Outbox":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending; what was not delivered stays undelivered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def dropped(self) -> int:
        """Events that an outage longer than the buffer has cost."""
        return self._buffer.dropped

    def put(self, staged: Staged, *, urgent: bool) -> None:
        """Send within `flush_every_s`, or at once if it is urgent."""
        with self._changed:
            self._buffer.push(staged)
            self._urgent |= urgent
            self._changed.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until everything is delivered or the lease is lost; False if neither came."""
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
            # Training on without a voice would be worse than another attempt.
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
        """One batch, then its checkpoint. What is not answered is sent again, just as it was."""
        with self._changed:
            self._sending = self._sending or self._buffer.take(BATCH_EVENTS)
        try:
            if self._sending:
                self._sink.append(self._sending)
                self._settled(newest_checkpoint(self._sending) or self._pointer)
            if self._pointer:
                self._sink.point(self._pointer)
                self._settled(None)
        except StoreUnavailable:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, RETRY_S)

    def _settled(self, pointer: Checkpointed | None) -> None:
        """What was being sent is told; `pointer` is what remains to be."""
        with self._changed:
            self._sending, self._pointer = (), pointer
            self._changed.notify_all()

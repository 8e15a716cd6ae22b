import threading
from collections.abc import Callable

import pytest

from service.api.schemas.examples import PROFILE
from service.store.store_errors import Fenced, StoreUnavailable
from tests.support.system.processes import wait_until
from trainer.schema.events import (
    Checkpointed,
    Ended,
    Evaluated,
    Event,
    Ingesting,
    Logged,
    Profiled,
    Stepped,
)
from worker.attempt import event_sender as module
from worker.attempt.event_sender import EventBuffer, EventSender, newest_checkpoint
from worker.attempt.progress import PendingEvent


def stepped(step: int) -> Stepped:
    return Stepped(step=step, epoch=0.0, signals={})


def checkpointed(step: int) -> Checkpointed:
    return Checkpointed(step=step, path=f"checkpoints/{step}", manifest_sha256="", size_bytes=1)


def pending(event: Event) -> PendingEvent:
    return PendingEvent(event, event.model_dump_json(), {})


class FakeSink:
    """A store that can be away or refuse."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.batches: list[tuple[PendingEvent, ...]] = []
        self.pointer = 0
        self.fail: Callable[[], None] = lambda: None

    def append(self, batch: tuple[PendingEvent, ...]) -> None:
        self.batches.append(batch)
        self.fail()
        self.told += [one.event for one in batch]

    def point(self, checkpoint: Checkpointed) -> None:
        self.fail()
        self.pointer = checkpoint.step


class Lost:
    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self) -> None:
        self.event.set()


def sender_of(
    sink: FakeSink, lost: Lost, *, limit: int = 100, every_s: float = 0.05
) -> EventSender:
    return EventSender(sink, limit=limit, flush_every_s=every_s, on_lost=lost)


def away() -> None:
    raise StoreUnavailable("away")


def refused() -> None:
    raise Fenced("job_1")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)


def test_a_full_buffer_drops_the_oldest_readings_only() -> None:
    buffer = EventBuffer(4)
    keep: list[Event] = [
        checkpointed(1),
        Evaluated(step=1, epoch=0.0, signals={}),
        Ended(outcome="failed"),
    ]
    for event in (stepped(1), keep[0], stepped(2), keep[1], stepped(3), keep[2]):
        buffer.push(pending(event))
    assert [one.event for one in buffer.take(9)] == [keep[0], keep[1], stepped(3), keep[2]]
    assert buffer.dropped == 2
    assert buffer.take(9) == ()


def test_sentences_go_when_no_reading_is_left_and_facts_never() -> None:
    buffer = EventBuffer(2)
    for event in (checkpointed(1), Logged(message="a"), checkpointed(2), checkpointed(3)):
        buffer.push(pending(event))
    assert [one.event for one in buffer.take(9)] == [checkpointed(n) for n in (1, 2, 3)]
    buffer.push(pending(Ingesting(rows_ok=1, rows_bad=0, bytes_done=1)))
    assert len(buffer) == 1


def test_a_profile_may_be_dropped_for_the_next_one_is_whole() -> None:
    buffer = EventBuffer(2)
    told = Profiled.model_validate(PROFILE)
    for event in (told, checkpointed(1), Logged(message="a")):
        buffer.push(pending(event))
    assert [one.event for one in buffer.take(9)] == [checkpointed(1), Logged(message="a")]


def test_the_newest_checkpoint_of_a_batch_is_the_pointer() -> None:
    events: list[Event] = [checkpointed(1), stepped(2), checkpointed(3), stepped(4)]
    assert newest_checkpoint(tuple(map(pending, events))) == checkpointed(3)
    assert newest_checkpoint((pending(stepped(1)),)) is None


def test_events_arrive_in_order_and_readings_wait_to_be_sent_together() -> None:
    sink, lost = FakeSink(), Lost()
    with sender_of(sink, lost, every_s=0.2) as sender:
        sender.put(pending(stepped(0)), urgent=True)
        wait_until(lambda: bool(sink.told), 2.0)
        for step in range(1, 20):
            sender.put(pending(stepped(step)), urgent=False)
        assert sender.drained(2.0)
    assert sink.told == [stepped(step) for step in range(20)]
    assert len(sink.batches) <= 3


def test_what_is_urgent_goes_at_once() -> None:
    sink, lost = FakeSink(), Lost()
    with sender_of(sink, lost, every_s=60.0) as sender:
        sender.put(pending(stepped(1)), urgent=True)
        wait_until(lambda: len(sink.told) == 1, 1.0)
        sender.put(pending(stepped(2)), urgent=False)
        sender.put(pending(checkpointed(2)), urgent=True)
        assert wait_until(lambda: sink.pointer == 2, 1.0) < 0.5
    assert sink.told == [stepped(1), stepped(2), checkpointed(2)]


def test_an_outage_delays_and_loses_nothing() -> None:
    """The batch whose answer was lost is sent again just as it was, so the store can know it."""
    sink, lost = FakeSink(), Lost()
    sink.fail = away
    with sender_of(sink, lost) as sender:
        for step in range(30):
            sender.put(pending(stepped(step)), urgent=step == 0)
        sender.put(pending(checkpointed(29)), urgent=True)
        wait_until(lambda: len(sink.batches) >= 3, 2.0)
        assert not sender.drained(0.05)
        assert sink.batches[0] == sink.batches[1] == sink.batches[2]
        sink.fail = lambda: None
        assert sender.drained(2.0)
    assert sink.told == [*(stepped(step) for step in range(30)), checkpointed(29)]
    assert sink.pointer == 29
    assert not lost.event.is_set()


def test_an_outage_longer_than_the_buffer_costs_readings_only() -> None:
    sink, lost = FakeSink(), Lost()
    sink.fail = away
    with sender_of(sink, lost, limit=10) as sender:
        sender.put(pending(stepped(0)), urgent=True)
        wait_until(lambda: len(sink.batches) == 1, 2.0)  # this one is on its way, and is kept
        for step in range(1, 100):
            sender.put(pending(stepped(step)), urgent=False)
        sender.put(pending(checkpointed(99)), urgent=True)
        sink.fail = lambda: None
        assert sender.drained(2.0)
        assert sender.dropped == 90
    assert sink.told == [stepped(0), *(stepped(n) for n in range(91, 100)), checkpointed(99)]


def test_a_refusal_ends_it_and_nothing_more_is_sent() -> None:
    sink, lost = FakeSink(), Lost()
    with sender_of(sink, lost) as sender:
        sink.fail = refused
        sender.put(pending(stepped(1)), urgent=True)
        assert lost.event.wait(2.0)
        assert sender.drained(2.0)  # nobody must wait for a lease that is over
        sink.fail = lambda: None
        sender.put(pending(stepped(2)), urgent=True)
    assert len(sink.batches) == 1
    assert sink.told == []

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schema.events import EVENT, Event, Logged, Stepped
from worker.process.event_pipe import LINE_BYTES, Emitter, EventLines

EVENTS: list[Event] = [
    Logged(message="a\nb"),
    Stepped(step=1, epoch=0.1, signals={"loss": 6.9}),
    Logged(message="é", level="warning"),
]


def fed(lines: EventLines, *pieces: bytes) -> list[Event]:
    return [event for piece in pieces for event, _ in lines.feed(piece)]


@given(st.lists(st.integers(min_value=0, max_value=300), max_size=12))
def test_events_survive_any_cuts(cuts: list[int]) -> None:
    """The pipe may hand the bytes over in any pieces; one line per event is all that counts."""
    data = b"".join(EVENT.dump_json(event) + b"\n" for event in EVENTS)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    lines = EventLines()
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert fed(lines, *pieces) == EVENTS
    assert lines.invalid_lines == 0


@pytest.mark.parametrize(
    "garbage",
    [b"not json", b"[]", b'{"type":"no such"}', b'{"type":"logged"}', b"\xff", b'{"type":"logged"'],
)
def test_garbage_between_events_is_counted_and_left_out(garbage: bytes) -> None:
    event = EVENT.dump_json(EVENTS[0])
    lines = EventLines()
    assert fed(lines, garbage + b"\n" + event + b"\n\n") == [EVENTS[0]]
    assert lines.invalid_lines == 1


def test_a_line_without_end_costs_no_memory() -> None:
    lines = EventLines()
    for _ in range(5):
        assert fed(lines, b"x" * LINE_BYTES) == []
        assert len(lines._rest) <= LINE_BYTES
    assert fed(lines, b"tail\n" + EVENT.dump_json(EVENTS[0]) + b"\n") == [EVENTS[0]]
    assert lines.invalid_lines == 1


def test_the_json_is_passed_on_as_it_came() -> None:
    text = EVENT.dump_json(EVENTS[1])
    assert [line for _, line in EventLines().feed(text + b"\n")] == [text.decode()]


def test_an_emitter_writes_one_line_for_an_event() -> None:
    read, write = os.pipe()
    try:
        Emitter(write)(EVENTS[0])
        assert fed(EventLines(), os.read(read, 4096)) == [EVENTS[0]]
    finally:
        os.close(read)
        os.close(write)

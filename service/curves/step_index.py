"""Binary search for a range of steps in a `metrics.jsonl`.

The lines of an attempt are in the order of their steps, so the first one of a step is found in a
history of any length after some thirty small reads.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from service.curves.reader import BLOCK_BYTES, Point, parse_readings

LOOK_BYTES = 8 * 1024


class Steps(NamedTuple):
    """A range of steps, both ends included; None is open."""

    first: int | None = None
    last: int | None = None

    def within(self, points: list[Point]) -> list[Point]:
        """Return the points whose steps are in the range."""
        low = 0 if self.first is None else self.first
        return [
            point
            for point in points
            if low <= point[0] and (self.last is None or point[0] <= self.last)
        ]


class Span(NamedTuple):
    """A part of a file that begins with a line and ends behind one."""

    start: int
    end: int


ALL = Steps()


def span_of(file: BinaryIO, steps: Steps) -> Span:
    """Return the span of bytes that holds the readings of `steps`."""
    size = os.fstat(file.fileno()).st_size
    start = 0 if steps.first is None else _offset_of(file, steps.first, size)
    end = size if steps.last is None else _offset_of(file, steps.last + 1, size)
    return Span(start, max(start, end))


def blocks_of(file: BinaryIO, span: Span) -> Iterator[bytes]:
    """Yield the whole lines of a span in blocks of about 64 KiB.

    A longer line, which is no reading, comes in pieces, so that none can fill the memory.
    """
    offset = span.start
    while offset < span.end:
        block = os.pread(file.fileno(), min(BLOCK_BYTES, span.end - offset), offset)
        if not block:
            return
        if offset + len(block) < span.end:
            block = block[: block.rfind(b"\n") + 1] or block
        offset += len(block)
        yield block


def _offset_of(file: BinaryIO, step: int, size: int) -> int:
    """Return where the first reading of `step` or a later one begins; `size` if there is none."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        offset, found_step = _reading_from(file, middle, size)
        if found_step is None or found_step >= step:
            high = middle
        else:
            low = offset + 1
    return _reading_from(file, low, size)[0]


def _reading_from(file: BinaryIO, start: int, size: int) -> tuple[int, int | None]:
    """Return offset and step of the first reading that begins at `start` or later.

    Lines that are no reading are passed over. `size` and None if only such are left.
    """
    # From the byte before: if a line ends there, the next one begins at `place` itself.
    offset, begun = max(0, start - 1), start == 0
    while offset < size:
        block = os.pread(file.fileno(), min(LOOK_BYTES, size - offset), offset)
        lines = block.split(b"\n")
        for line in lines[:-1]:
            readings = parse_readings(line) if begun else []
            if readings:
                return offset, int(readings[0]["step"])
            offset += len(line) + 1
            begun = True
        if len(lines) == 1:
            # A line longer than a block is no reading of ours.
            offset, begun = offset + len(block), False
        elif not block.endswith(b"\n") and offset + len(lines[-1]) >= size:
            break  # the newest line is not whole yet
    return size, None

"""Downsampled curves of a run, read a little further on each request.

A `metrics.jsonl` only grows, so each read takes what is new. A file that was never read may be
hundreds of megabytes: one read takes a tenth of a second, samples the rest, and says that it did;
the next reads go on until nothing is left to sample. A read of a range of steps does the same with
that part of the file alone, so the fewer steps it spans, the finer it is.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from service.curves.reader import Point, Reading, columns, downsample, parse_readings, signals_of
from service.curves.step_index import ALL, Span, Steps, span_of

POINTS_KEPT = 4096
"""Points kept of each signal. A request for more than half as many reads the file itself."""
LOOK_S = 0.1
FILES_KEPT = 64
RANGES_KEPT = 16
CHUNK_BYTES = 1024 * 1024
SAMPLES = 400
SAMPLE_BYTES = 16 * 1024


class Curves(NamedTuple):
    """Curves from one read."""

    series: dict[str, list[Point]]
    is_whole: bool
    """True if every line was read; otherwise the newer part consists of samples."""


@dataclass
class Curve:
    """One signal: the smallest and the largest of each `width` readings, in order."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    width: int = 1
    new_steps: list[int] = field(default_factory=list)
    new_values: list[float] = field(default_factory=list)
    """Readings that fill no bucket yet."""

    def settle(self) -> None:
        """Turn new readings into buckets; merge buckets while there are too many of them."""
        whole = len(self.new_steps) // self.width * self.width
        self._pack(self.new_steps[:whole], self.new_values[:whole], self.width)
        del self.new_steps[:whole], self.new_values[:whole]
        while len(self.steps) > POINTS_KEPT:
            steps, values = self.steps, self.values
            whole = len(steps) // 4 * 4
            self.steps, self.values = [], []
            self._pack(steps[:whole], values[:whole], 4)
            # Four readings make the first buckets, two old buckets each later one.
            self.width *= 4 if self.width == 1 else 2
            if self.width == 4:
                self.new_steps = steps[whole:] + self.new_steps
                self.new_values = values[whole:] + self.new_values
            else:
                self.steps += steps[whole:]
                self.values += values[whole:]

    def _pack(self, steps: list[int], values: list[float], width: int) -> None:
        if width == 1:
            self.steps += steps
            self.values += values
            return
        for start in range(0, len(steps), width):
            part = values[start : start + width]
            for index in sorted((part.index(min(part)), part.index(max(part)))):
                self.steps.append(steps[start + index])
                self.values.append(part[index])

    def points(self) -> list[Point]:
        """Return the kept and the new points, each step once."""
        points = dict(zip(self.steps, self.values, strict=True))
        points.update(zip(self.new_steps, self.new_values, strict=True))
        return list(points.items())


@dataclass
class _File:
    """Curves of one file, or of a span of it, as far as it was read."""

    identity: tuple[int, int]
    offset: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    ends: dict[str, tuple[Point, Point]] = field(default_factory=dict)
    """First and last reading of each signal, which stay as they are."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read_on(self, file: BinaryIO, end: int, deadline_s: float) -> bool:
        """Read whole lines until `end` or the deadline; return whether the end was reached."""
        while True:
            file.seek(self.offset)
            chunk = file.read(min(CHUNK_BYTES, max(0, end - self.offset)))
            cut = chunk.rfind(b"\n") + 1
            if cut == 0 and len(chunk) < CHUNK_BYTES:
                return True  # nothing new, or a line that is being written
            self.offset += cut or len(chunk)
            self._take(parse_readings(chunk[:cut]))
            for curve in self.curves.values():
                curve.settle()
            if len(chunk) < CHUNK_BYTES:
                return True
            if time.monotonic() > deadline_s:
                return False

    def _take(self, readings: list[Reading]) -> None:
        for name, (steps, values) in columns(readings).items():
            curve = self.curves.setdefault(name, Curve())
            curve.new_steps += steps
            curve.new_values += values
            first = self.ends.get(name, ((steps[0], values[0]),))[0]
            self.ends[name] = (first, (steps[-1], values[-1]))

    def points(self, name: str) -> list[Point]:
        """Return the kept points of a signal, with its first and last reading."""
        first, last = self.ends[name]
        points = self.curves[name].points()
        return (
            ([] if points[0] == first else [first])
            + points
            + ([] if points[-1] == last else [last])
        )


class CurveCache:
    """Cache of the curves of files, and of ranges of steps, that were read lately."""

    def __init__(self, *, look_s: float = LOOK_S) -> None:
        self._look_s = look_s
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._ranges: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        key: str,
        file: BinaryIO,
        *,
        names: frozenset[str] | None,
        points_max: int,
        steps: Steps = ALL,
    ) -> Curves:
        """Return the curves in `file`, each downsampled to `points_max` points so that peaks stay.

        A look at all steps that is not whole gives half as many: who gets it asks again, and one
        page should not cost twice the bytes for it.
        """
        deadline_s = time.monotonic() + self._look_s
        span = span_of(file, steps)
        cached = self._cached(key, file, steps, span)
        with cached.lock:
            if steps != ALL and not cached.curves:
                cached.offset = span.start  # by now there may be readings of these steps
            is_whole = cached.read_on(file, span.end, deadline_s)
            wanted = [name for name in cached.curves if names is None or name in names]
            series = {name: cached.points(name) for name in wanted}
            rest = Span(cached.offset, span.end)
        if not is_whole:
            for step, reading in _samples(file, rest):
                for name, value in reading.items():
                    if names is None or name in names:
                        series.setdefault(name, []).append((step, value))
        if steps != ALL:
            series = {
                name: points for name, all_ in series.items() if (points := steps.within(all_))
            }
        kept = points_max if is_whole or steps != ALL else max(2, points_max // 2)
        return Curves({name: downsample(points, kept) for name, points in series.items()}, is_whole)

    def _cached(self, key: str, file: BinaryIO, steps: Steps, span: Span) -> _File:
        """Return the cached curves of a file, empty ones if another file has taken its place."""
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        cache, kept = self._files, FILES_KEPT
        if steps != ALL:
            cache, kept, key = self._ranges, RANGES_KEPT, f"{key}/{steps.first}-{steps.last}"
        with self._lock:
            cached = cache.get(key)
            if cached is None or cached.identity != identity or cached.offset > status.st_size:
                cached = cache[key] = _File(identity, span.start)
            cache.move_to_end(key)
            while len(cache) > kept:
                cache.popitem(last=False)
            return cached


def _samples(file: BinaryIO, rest: Span) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield single readings at equal distances in `rest`, and the last one."""
    last = max(rest.start, rest.end - SAMPLE_BYTES)
    offsets = [
        rest.start + (last - rest.start) * number // SAMPLES for number in range(SAMPLES + 1)
    ]
    before = -1
    for offset in offsets:
        text = os.pread(file.fileno(), min(SAMPLE_BYTES, rest.end - offset), offset)
        # The line at `place` may have begun before it, and the newest may not be whole.
        lines = text.split(b"\n")[1:-1]
        line = (lines or [b""])[-1 if offset == last else 0]
        for reading in parse_readings(line):
            if reading["step"] > before:
                before = int(reading["step"])
                yield before, signals_of(reading)

"""Time profile of a run; a run that is not profiled has a NullTimer.

Phases are marked by `with timer.phase("query"):` where they are; each optimizer step ends with an
`end_step`. On a GPU both are events in its stream, read only after it has passed them: nothing
waits for the device, and host work that overlaps device work is not counted.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from trainer.schema.events import Phase
from trainer.timing.phase_totals import Tally, Times

WARM_UP_STEPS = 5
"""Steps not measured: the first ones choose kernels, fill caches and touch memory."""
_NOTHING: AbstractContextManager[None] = nullcontext()


class NullTimer:
    """Timer that measures nothing."""

    def phase(self, name: Phase) -> AbstractContextManager[None]:  # noqa: ARG002  # as PhaseTimer's
        """Measure a block. Inside of another phase the time is the other's."""
        return _NOTHING

    def end_step(self, rows: int) -> None:
        """End a step of `rows` rows; 0 ends the work between steps."""

    def times(self, *, wait: bool = False) -> Times | None:
        """Return the measurements or None; only `wait` synchronizes with the device."""
        del wait
        return None


Stamp = TypeVar("Stamp")


class Timer(Protocol[Stamp]):
    """Source of time stamps and of the seconds between them."""

    def stamp(self) -> Stamp:
        """Return a time stamp of now."""

    def is_past(self, stamp: Stamp, *, wait: bool) -> bool:
        """Return whether the device has reached the stamp; with `wait`, wait until it has."""

    def seconds(self, begin: Stamp, end: Stamp) -> float:
        """Return the seconds between two completed stamps."""


class HostTimer:
    """Time stamps of the host's clock, for a CPU, which does all the work itself."""

    def stamp(self) -> float:
        """Return the seconds of the host's clock."""
        return time.perf_counter()

    def is_past(self, stamp: float, *, wait: bool) -> bool:
        """Return True: the host has done its work when a call returns."""
        del stamp, wait
        return True

    def seconds(self, begin: float, end: float) -> float:
        """Return the difference."""
        return end - begin


class DeviceTimer:
    """Time stamps in the stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stamp(self) -> torch.cuda.Event:
        """Record an event after all work launched so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types
        event.record(torch.cuda.current_stream(self._device))
        return event

    def is_past(self, stamp: torch.cuda.Event, *, wait: bool) -> bool:
        """Return whether all work launched before it is done."""
        if wait:
            stamp.synchronize()
        return bool(stamp.query())  # type: ignore[no-untyped-call]

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the seconds by the GPU's clock."""
        return float(begin.elapsed_time(end)) / 1e3


@dataclass(frozen=True, slots=True)
class _Lap(Generic[Stamp]):
    begin: Stamp
    end: Stamp
    spans: list[tuple[Phase, Stamp, Stamp]]
    rows: int


class PhaseTimer(NullTimer, Generic[Stamp]):
    """Measures every step."""

    def __init__(self, timer: Timer[Stamp], *, warm_up_steps: int = WARM_UP_STEPS) -> None:
        self._timer, self._left_out = timer, warm_up_steps
        self._tally = Tally()
        self._laps: deque[_Lap[Stamp]] = deque()  # those that the device may not have passed yet
        self._spans: list[tuple[Phase, Stamp, Stamp]] = []
        self._is_within = False
        self._began = timer.stamp()

    @contextmanager
    def _phase(self, name: Phase) -> Iterator[None]:
        self._is_within = True
        begin = self._timer.stamp()
        try:
            yield
        finally:
            self._spans.append((name, begin, self._timer.stamp()))
            self._is_within = False

    def phase(self, name: Phase) -> AbstractContextManager[None]:
        """Measure a block. Inside of another phase the time is the other's."""
        return _NOTHING if self._is_within else self._phase(name)

    def end_step(self, rows: int) -> None:
        """End a step of `rows` rows; 0 ends the work between steps."""
        lap = _Lap(self._began, self._timer.stamp(), self._spans, rows)
        self._began, self._spans = lap.end, []
        if self._left_out:
            self._left_out -= 1
            return
        self._laps.append(lap)
        self._harvest(wait=False)

    def times(self, *, wait: bool = False) -> Times | None:
        """Return the measurements; only `wait` synchronizes with the device. None: no steps."""
        self._harvest(wait=wait)
        return self._tally.times()

    def _harvest(self, *, wait: bool) -> None:
        while self._laps and self._timer.is_past(self._laps[0].end, wait=wait):
            lap = self._laps.popleft()
            spans = [(name, self._timer.seconds(begin, end)) for name, begin, end in lap.spans]
            self._tally.add(self._timer.seconds(lap.begin, lap.end), spans, rows=lap.rows)


def timer_for(device: torch.device, *, profile: bool) -> NullTimer:
    """Return the timer of a run on a device."""
    if not profile:
        return NullTimer()
    if device.type == "cuda":
        return PhaseTimer(DeviceTimer(device))
    return PhaseTimer(HostTimer())

"""Shared clock of all leases: it counts ticks and stands still while the store is away."""

from collections.abc import Callable


class LeaseClock:
    """Moves the tick from k to k + 1 only if it is still k one tick length after k was read.

    The caller measures the tick length on its own monotonic clock. Any number of processes may
    advance the same clock: only one of them moves each tick.
    """

    def __init__(self, current_tick: Callable[[], int], tick: Callable[[int], int]) -> None:
        self._current_tick, self._tick = current_tick, tick
        self._last_tick: int | None = None

    def advance(self) -> None:
        """Read the tick, or move it on from the one read a tick length ago. Raises StoreError."""
        last_tick, self._last_tick = self._last_tick, None
        self._last_tick = self._current_tick() if last_tick is None else self._tick(last_tick)

    def restart(self) -> None:
        """Forget the tick that was read, so that the time of an outage does not count."""
        self._last_tick = None

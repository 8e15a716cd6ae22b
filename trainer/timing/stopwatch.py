"""Stopwatch of the parts of an attempt."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds spent in each part of an attempt.

    On a GPU the host runs ahead; the time that it waits for a reading counts where it waits.
    """

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(("data_s", "step_s", "eval_s", "checkpoint_s"), 0.0)
        self._trained_s, self._rows = 0.0, 0

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the block's time to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s[part] += time.perf_counter() - start

    def count(self, rows: int) -> None:
        """Add to the number of rows trained on."""
        self._rows += rows

    def read(self) -> dict[str, float]:
        """Return the seconds so far, and the training speed since the last reading."""
        trained_s = self.spent_s["data_s"] + self.spent_s["step_s"]
        rows_per_s = self._rows / max(trained_s - self._trained_s, 1e-9)
        self._trained_s, self._rows = trained_s, 0
        return {**self.spent_s, "rows_per_s": rows_per_s}

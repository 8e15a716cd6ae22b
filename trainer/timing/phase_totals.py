"""Sums of what a timer has measured. Loads no tensors."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from trainer.schema.events import Phase

BETWEEN_STEPS: frozenset[Phase] = frozenset({"evaluation", "checkpoint"})
"""Phases between steps; all others are parts of a step."""
RECENT_STEPS = 1000
"""Number of newest steps that the median covers."""


@dataclass(frozen=True, slots=True)
class Times:
    """Time of `steps` steps and of the work between them."""

    steps: int
    rows: int
    steps_s: float
    """Total time of all steps."""
    step_median_s: float
    phases_s: dict[Phase, float]
    """Total time of each phase. The rest of a step is `other`."""
    counts: dict[Phase, int]
    """Count of each phase; a phase that occurs twice in a step counts twice."""

    @property
    def whole_s(self) -> float:
        """Total time of all steps and of the work between them."""
        return self.steps_s + sum(self.phases_s.get(name, 0.0) for name in BETWEEN_STEPS)

    def share(self, *names: Phase) -> float:
        """Return the share of phases in the steps; of work between steps, in the whole."""
        base_s = self.whole_s if BETWEEN_STEPS.issuperset(names) else self.steps_s
        return sum(self.phases_s.get(name, 0.0) for name in names) / max(base_s, 1e-12)


class Tally:
    """Takes steps in one after the other; its size does not grow with them."""

    def __init__(self) -> None:
        self._steps = self._rows = 0
        self._steps_s = 0.0
        self._phases_s: dict[Phase, float] = {}
        self._counts: Counter[Phase] = Counter()
        self._recent_s: deque[float] = deque(maxlen=RECENT_STEPS)

    def add(self, lap_s: float, spans: Iterable[tuple[Phase, float]], *, rows: int) -> None:
        """Add a lap with its phases; without rows only the work between steps counts."""
        step_s = other_s = lap_s
        for name, span_s in spans:
            other_s -= span_s
            if name in BETWEEN_STEPS:
                step_s -= span_s
            elif not rows:
                continue
            self._add(name, span_s)
        if rows:
            self._add("other", max(0.0, other_s))
            self._steps, self._rows = self._steps + 1, self._rows + rows
            self._steps_s += step_s
            self._recent_s.append(step_s)

    def _add(self, name: Phase, span_s: float) -> None:
        self._phases_s[name] = self._phases_s.get(name, 0.0) + span_s
        self._counts[name] += 1

    def times(self) -> Times | None:
        """Return the sums so far; None before the first step."""
        if not self._steps:
            return None
        return Times(
            steps=self._steps,
            rows=self._rows,
            steps_s=self._steps_s,
            step_median_s=median(self._recent_s),
            phases_s=dict(self._phases_s),
            counts=dict(self._counts),
        )

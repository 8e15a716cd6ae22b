"""Progress of a job: a small object folded from its events."""

import math
from dataclasses import dataclass, field
from typing import Any

from trainer.schema.events import (
    Checkpointed,
    Ended,
    Evaluated,
    Event,
    Ingesting,
    Judged,
    Profiled,
    Published,
    Started,
    Stepped,
)

Progress = dict[str, Any]
"""step, steps, epoch, epochs, signals, rows_per_s, eta_s, exact, differs, device, precision, and
profile and verdict once there are any; an ingest has rows_ok, rows_bad, bytes_done, bytes_total."""


def folded(progress: Progress, event: Event, *, batch_rows: int) -> Progress:
    """Return `progress` after `event`; the same object if the event does not change it."""
    if isinstance(event, Started):
        return progress | {
            "step": event.step,
            "steps": event.steps_planned,
            "epoch": event.step / event.steps_per_epoch,
            "epochs": math.ceil(event.steps_planned / event.steps_per_epoch),
            "signals": {},
            "rows_per_s": None,
            "eta_s": None,
            "exact": event.exact,
            "differs": list(event.differs),
            "device": event.device,
            "precision": event.precision,
            **_watched(event),
        }
    if isinstance(event, Stepped | Evaluated):
        signals = progress.get("signals", {}) | event.signals
        rows_per_s = signals.get("rows_per_s")
        return progress | {
            "step": event.step,
            "epoch": event.epoch,
            "signals": signals,
            "rows_per_s": rows_per_s,
            **_watched(event),
            "eta_s": _eta_s(progress.get("steps", 0) - event.step, batch_rows, rows_per_s),
        }
    if isinstance(event, Profiled):
        return progress | {"profile": event.model_dump(mode="json")}
    if isinstance(event, Judged):
        return progress | {"verdict": event.model_dump(mode="json")}
    if isinstance(event, Ingesting):
        return progress | event.model_dump(exclude={"type"})
    return progress


def _watched(event: Started | Stepped | Evaluated) -> Progress:
    """Return what an event says of the signals that the job watches; empty if it watches none."""
    if isinstance(event, Stepped):
        return {}
    best = {"best": event.best.model_dump(mode="json")} if event.best else {}
    reason = event.ends_early if isinstance(event, Evaluated) else ""
    return best | ({"ends_early": reason} if reason else {})


def _eta_s(steps_left: int, batch_rows: int, rows_per_s: float | None) -> float | None:
    """Return the seconds of training left at the present speed, without evaluations."""
    if not rows_per_s or rows_per_s <= 0.0:
        return None
    return round(max(0, steps_left) * batch_rows / rows_per_s, 1)


@dataclass(frozen=True)
class PendingEvent:
    """An event, its JSON, and the progress after it."""

    event: Event
    text: str
    progress: Progress


@dataclass
class EventFold:
    """State folded from the events of a child so far."""

    batch_rows: int
    progress: Progress = field(default_factory=dict)
    published: Published | None = None
    checkpoint: Checkpointed | None = None
    ended: Ended | None = None
    stepped: bool = False

    def take(self, event: Event, text: str) -> tuple[PendingEvent, bool]:
        """Return the event with the progress after it, and whether it must be sent at once."""
        self.progress = folded(self.progress, event, batch_rows=self.batch_rows)
        first_step = isinstance(event, Stepped) and not self.stepped
        self.stepped |= first_step
        if isinstance(event, Published):
            self.published = event
        elif isinstance(event, Checkpointed):
            self.checkpoint = event
        elif isinstance(event, Ended):
            self.ended = event
        urgent = isinstance(event, Started | Checkpointed | Evaluated | Ended)
        return PendingEvent(event, text, self.progress), urgent or first_step

"""State of a watched job, folded from its events; the caller passes the clock."""

from collections import deque
from math import isfinite
from typing import Any

from mocoserve.models import Event, Job, Metrics, Verdict
from service.cli.render.value_text import count_text, duration_text
from service.cli.render.verdict_text import figure

_WINDOW_S = 60.0
_SPEED_S_MIN = 0.5
"""Shortest interval between two events that is used to estimate speed."""


class JobTracker:
    """State of one watched job."""

    def __init__(self, job: Job) -> None:
        """Start from the state of the job itself."""
        progress = job.progress
        epochs = (job.resolved or job.spec).get("epochs")
        self.status, self.worker_id = job.status, job.worker_id
        self.reason: dict[str, Any] = {}
        self.epochs = float(epochs) if epochs else (progress.epochs if progress else None)
        self.step = progress.step if progress else 0
        self.steps = progress.steps if progress else None
        self.epoch = progress.epoch if progress else 0.0
        self.signals: dict[str, float] = dict(progress.signals) if progress else {}
        self.bottleneck = ""
        """Bottleneck named by the newest profile."""
        self.verdict: Verdict | None = None
        """Newest verdict among the events."""
        self.losses: dict[int, float] = {}
        """Step -> loss, for a chart."""
        self._recent_steps: deque[tuple[float, int]] = deque()

    def feed(self, event: Event, *, now_s: float) -> bool:
        """Apply an event; return whether it deserves a line of its own."""
        body, at_s = event.event, _server_s(event.id, now_s)
        match event.type:
            case "status":
                self.status = str(body["status"])
                self.worker_id, self.reason = body.get("worker_id"), body
                return True
            case "started":
                self.step, self.steps = int(body["step"]), int(body["steps_planned"])
                per_epoch = body.get("steps_per_epoch")
                self.epoch = self.step / int(per_epoch) if per_epoch else 0.0
                self.signals.clear()  # of the previous attempt
                self._recent_steps.clear()
                self._recent_steps.append((at_s, self.step))
                return True
            case "stepped" | "evaluated":
                self.step, self.epoch = int(body["step"]), float(body["epoch"])
                self.signals.update(body["signals"])
                if (loss := body["signals"].get("loss")) is not None and isfinite(loss):
                    self.losses[self.step] = float(loss)
                self._remember(at_s)
                return event.type == "evaluated"
            case "profiled" | "judged":
                return self._says_else(event.type, body)
            case "logged":
                return True
        return False

    def _says_else(self, kind: str, body: dict[str, Any]) -> bool:
        """Return whether a profile names a new bottleneck, or the run a new verdict."""
        if kind == "profiled":
            before, self.bottleneck = self.bottleneck, str(body["bottleneck"])
            return self.bottleneck != before
        last, self.verdict = self.verdict, Verdict.model_validate(body)
        return last is None or self.verdict.code != last.code

    @property
    def eta_s(self) -> float | None:
        """Return the seconds to the end at the speed of the last minute, evaluation included."""
        if self.steps is None or len(self._recent_steps) < 2:
            return None
        (old_s, old), (new_s, new) = self._recent_steps[0], self._recent_steps[-1]
        if new <= old or new_s - old_s < _SPEED_S_MIN:
            return None
        return (self.steps - self.step) * (new_s - old_s) / (new - old)

    def recall(self, past: Metrics) -> None:
        """Add the curve of the loss from before the events to come."""
        if (series := past.series.get("loss")) is not None:
            self.losses = dict(zip(series.step, series.value, strict=False)) | self.losses

    def title(self) -> str:
        """Return the caption of the chart of the loss."""
        from trainer.spec.signal_tables import FILLS

        chance = self.signals.get("chance_loss")
        caption = f"loss; dots: chance, {chance:.2f}" if chance else "loss"
        for name, what in FILLS.items():
            if (ratio := self.signals.get(name, 1.0)) < 1.0:
                caption += f"; it rises while the {what} fills ({ratio:.0%})"
        return caption

    def words(self, *, short: bool = False) -> str:
        """Return the state in one line, without the status; `short` fits beside a bar."""
        signals = self.signals
        parts = [f"epoch {self.epoch:.1f}" + (f"/{self.epochs:g}" if self.epochs else "")]
        if self.steps and not short:
            parts.append(f"step {self.step}/{self.steps}")
        if (loss := signals.get("loss")) is not None:
            chance = signals.get("chance_loss")
            text = f" (chance {chance:.2f})" if chance else ""
            parts.append(f"loss {loss:.2f}" if short else f"loss {loss:.3f}{text}")
        if (top1 := signals.get("top1")) is not None:
            parts.append(f"top-1 {top1:.0%}" if short else f"top-1 {top1:.1%}")
        if text := figure(signals, short=short):
            parts.append(text)
        if rows_per_s := signals.get("rows_per_s"):
            parts.append(f"{count_text(rows_per_s)} images/s")
        if (eta_s := self.eta_s) is not None:
            parts.append(f"ETA {duration_text(eta_s)}")
        return (" " if short else "  ").join(parts)

    def _remember(self, at_s: float) -> None:
        self._recent_steps.append((at_s, self.step))
        while len(self._recent_steps) > 2 and at_s - self._recent_steps[0][0] > _WINDOW_S:
            self._recent_steps.popleft()


def _server_s(event_id: str, now_s: float) -> float:
    """Return the time of an event: stream ids begin with milliseconds."""
    head = event_id.partition("-")[0]
    return int(head) / 1000 if head.isdigit() else now_s

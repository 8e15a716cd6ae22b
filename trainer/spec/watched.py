"""Signals that a job watches: one marks its best checkpoint, one may end it early.

Both are functions of the evaluations logged so far, so a run that was killed and resumed decides
as one that never was. Loads no tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.events import BestReading
from trainer.schema.signals import Signal

Line = Mapping[str, float]
"""A line of metrics.jsonl: `step`, `epoch`, and signals. Only lines of steps have a loss."""
WatchedSignal = Annotated[str, Field(min_length=1, max_length=64)]


class EarlyStopSpec(Record):
    """End the job when a signal of an evaluation no longer gets better."""

    signal: WatchedSignal
    """Signal of an evaluator, such as `knn_top1`."""
    patience_epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Epochs without an improvement after which the job ends."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change that counts as an improvement."""


def best_reading(
    lines: Sequence[Line], signal: str, meaning: Signal, *, min_delta: float = 0.0
) -> BestReading | None:
    """Return the evaluation with the best value so far, the earliest of equal ones; None if none.

    With `min_delta` a later value counts only if it is better by more than that.
    """
    sign = -1.0 if meaning.better == "down" else 1.0
    best: Line | None = None
    for line in lines:
        if signal not in line or "loss" in line:
            continue
        if best is None or sign * (line[signal] - best[signal]) > min_delta:
            best = line
    if best is None:
        return None
    return BestReading(
        signal=signal, value=best[signal], step=int(best["step"]), epoch=best["epoch"]
    )


def end_reason(
    lines: Sequence[Line], spec: EarlyStopSpec | None, signals: Mapping[str, Signal]
) -> str:
    """Return why a job ends after the newest of these lines; empty if it goes on."""
    if spec is None:
        return ""
    meaning = signals[spec.signal]
    best = best_reading(lines, spec.signal, meaning, min_delta=spec.min_delta)
    measured = [line for line in lines if spec.signal in line and "loss" not in line]
    if best is None or measured[-1]["epoch"] - best.epoch < spec.patience_epochs:
        return ""
    by = f" by more than {spec.min_delta:g}" if spec.min_delta else ""
    epochs = f"{spec.patience_epochs} epoch{'s' if spec.patience_epochs > 1 else ''}"
    return (
        f"{spec.signal} has not improved{by} for {epochs}: it was {best.value:.4g} "
        f"after epoch {best.epoch:g} and is {measured[-1][spec.signal]:.4g}."
    )

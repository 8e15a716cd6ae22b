"""Events as plain lines for people."""

from trainer.evaluators.registry import SIGNALS
from trainer.schema.events import (
    Checkpointed,
    Ended,
    Evaluated,
    Event,
    Ingesting,
    Judged,
    Logged,
    Profiled,
    Published,
    Started,
    Stepped,
)

SHOWN = (
    "loss",
    "chance_loss",
    "top1",
    "embedding_std_ratio",
    "lr",
    "rows_per_s",
    *SIGNALS,
)


def show(event: Event) -> None:
    """One plain line for people, whole also when two threads have something to say."""
    print(f"{_line(event)}\n", end="", flush=True)


def _line(event: Event) -> str:
    if isinstance(event, Stepped | Evaluated):
        return f"{event.type:<12} {event.step} epoch {event.epoch:.2f} {_figures(event)}"
    text = ""
    match event:
        case Started():
            exact = "" if event.exact else ", not exact"
            steps = f"step {event.step} of {event.steps_planned}"
            text = f"{event.rows} rows on {event.device} in {event.precision}, {steps}{exact}"
        case Checkpointed():
            text = f"{event.path} ({event.size_bytes / 1e6:.1f} MB)"
        case Logged():
            text = event.message
        case Profiled():
            text = event.sentence
        case Judged():
            text = f"{event.word}: {event.evidence} {event.advice}"
        case Ingesting():
            text = f"{event.rows_ok} rows, {event.rows_bad} rejected files"
        case Published():
            text = f"{event.folder}: {', '.join(file.name for file in event.files)}"
        case Ended():
            text = f"{event.outcome} {event.message} {event.hint}".rstrip()
    return f"{event.type:<12} {text}"


def _figures(event: Stepped | Evaluated) -> str:
    words = [f"{name} {event.signals[name]:.4g}" for name in SHOWN if name in event.signals]
    if isinstance(event, Evaluated) and event.seconds:
        times = (f"{name} {seconds:.1f} s" for name, seconds in event.seconds.items())
        words.append(f"({', '.join(times)})")
    return " ".join(words)

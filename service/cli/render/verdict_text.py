"""Verdict on a run as lines of text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocoserve.models import Job, Verdict

BASELINES = (("raw", "knn_top1_raw"), ("untrained", "knn_top1_untrained"))
"""Short name -> signal, for baselines shown beside a figure."""


def verdict_of(job: "Job") -> "Verdict | None":
    """Return the newest verdict on a job, if there is one."""
    return job.progress.verdict if job.progress else None


def lines(verdict: "Verdict | None") -> list[str]:
    """Return the lines of a verdict: the word with its evidence, then the advice."""
    if verdict is None:
        return []
    return [f"{verdict.word}: {verdict.evidence}", f"  next: {verdict.advice}"]


def figure(signals: dict[str, float], *, short: bool) -> str:
    """Return the accuracy of a classifier, or of kNN with its baselines; empty without both."""
    if (accuracy := signals.get("classifier_top1")) is not None:
        return f"accuracy {accuracy:.0%}" if short else f"accuracy {accuracy:.1%}"
    knn = signals.get("knn_top1")
    if knn is None:
        return ""
    if short:
        return f"kNN {knn:.0%}"
    baselines = [f"{name} {signals[signal]:.1%}" for name, signal in BASELINES if signal in signals]
    return f"kNN {knn:.1%}" + (f" ({', '.join(baselines)})" if baselines else "")

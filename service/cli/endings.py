"""How a job ended, in words: what happened to one that did not succeed, and what to do next. Pure.

What watches or waits for a job says it on stderr, like every failure, with the exit code.
"""

from typing import TYPE_CHECKING

from service.cli.exits import CommandError, outcome
from service.cli.words import duration_text

if TYPE_CHECKING:
    from mocoserve.models import Job

UNHAPPY = frozenset({"failed", "cancelled"})
"""Statuses in which nothing more comes of a job by itself."""


def lasted(job: "Job") -> str:
    """` after 1:23`, or nothing for a job that was never begun or is not over."""
    if job.started_at is None or job.finished_at is None:
        return ""
    return f" after {duration_text(job.finished_at - job.started_at)}"


def unhappy(job: "Job") -> CommandError:
    """The error that tells of a job that failed or was cancelled."""
    reason = job.status_reason
    return CommandError(
        f"{job.id} {job.status}{lasted(job)}",
        detail=(reason.message or reason.code) if reason else "",
        hint=_next(job),
        code=outcome(job.status),
    )


def _next(job: "Job") -> str:
    if job.status == "cancelled":
        return f"`moco resume {job.id}` goes on from where it stopped."
    told = job.status_reason.hint if job.status_reason else ""
    log = f"`moco logs {job.id}` prints its log."
    return f"{told} {log}" if told else log

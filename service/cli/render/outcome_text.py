"""Text for how a job ended, and what to do next if it did not succeed.

What watches or waits for a job says it on stderr, like every failure, with the exit code.
"""

from typing import TYPE_CHECKING

from service.cli.exit_codes import CommandError, outcome
from service.cli.render.value_text import duration_text
from service.cli.render.verdict_text import verdict_of

if TYPE_CHECKING:
    from mocoserve.models import Job

UNHAPPY = frozenset({"failed", "cancelled"})
"""Statuses that a job leaves only when a user acts."""


def duration_suffix(job: "Job") -> str:
    """Return ` after 1:23`, or nothing for a job that has not started or not ended."""
    if job.started_at is None or job.finished_at is None:
        return ""
    return f" after {duration_text(job.finished_at - job.started_at)}"


def outcome_error(job: "Job") -> CommandError:
    """Return the error for a job that failed or was cancelled."""
    return CommandError(
        f"{job.id} {job.status}{duration_suffix(job)}",
        detail=_detail(job),
        hint=_next(job),
        code=outcome(job.status),
    )


def _detail(job: "Job") -> str:
    """Return the reason and the verdict of a job; the reason may be the verdict's evidence."""
    reason, verdict = job.status_reason, verdict_of(job)
    message = (reason.message or reason.code) if reason else ""
    if verdict is None or verdict.kind in ("ok", "busy"):
        return message
    evidence = "" if verdict.evidence == message else f": {verdict.evidence}"
    return f"{message} Verdict: {verdict.word}{evidence or '.'}".strip()


def _next(job: "Job") -> str:
    if job.status == "cancelled":
        return f"`moco resume {job.id}` continues from the last checkpoint."
    hint = job.status_reason.hint if job.status_reason else ""
    log = f"`moco logs {job.id}` prints the log."
    return f"{hint} {log}" if hint else log

"""`moco cancel | pause | resume | wait | delete`: control of jobs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit, outcome
from service.cli.options import AnyJobId, JobId, TimeoutS, job_id
from service.cli.removal import confirmed
from service.cli.render.outcome_text import UNHAPPY, outcome_error

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Job


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    command(app, "cancel")(cancel)
    command(app, "pause")(pause)
    command(app, "resume")(resume)
    command(app, "wait")(wait)
    command(app, "delete")(delete)


def cancel(context: Context, job: JobId) -> None:
    """Cancel a job at its next step. `moco resume` can restart it."""
    _change(context, lambda client: client.jobs.cancel(job))


def pause(context: Context, job: JobId) -> None:
    """Pause a job at its next step, after saving a checkpoint."""
    _change(context, lambda client: client.jobs.pause(job))


def resume(context: Context, job: JobId) -> None:
    """Resume a paused, failed or cancelled job from its last checkpoint."""
    _change(context, lambda client: client.jobs.resume(job))


def wait(context: Context, job: AnyJobId = None, timeout: TimeoutS = None) -> Exit:
    """Wait until a job ends; the exit code is its outcome."""
    with context.client() as client:
        record = client.jobs.wait(job_id(client, job), timeout_s=timeout)
    if context.json:
        context.emit(record.raw())
    if record.status in UNHAPPY:
        raise outcome_error(record)
    if not context.json:
        context.data(sentence(record))
        verb = "download" if record.status == "succeeded" else "resume"
        context.say(f"next: moco {verb} {record.id}")
    return outcome(record.status)


def delete(
    context: Context,
    job: JobId,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Delete a finished job with its checkpoints and artifacts."""
    if not yes and not confirmed(f"Delete {job} and all its files? [y/N] "):
        raise CommandError(
            f"{job} was not deleted", hint="Pass --yes to delete it.", code=Exit.USAGE
        )
    with context.client() as client:
        client.jobs.delete(job)
    if context.json:
        context.emit({"id": job, "object": "job", "deleted": True})
    else:
        context.data(f"{job} deleted")


def sentence(job: "Job") -> str:
    """Return the state of a job in one line."""
    reason = job.status_reason
    because = f": {reason.message or reason.code}" if reason and reason.code else ""
    return f"{job.id} {job.status}{because}"


def _change(context: Context, change: Callable[["Client"], "Job"]) -> None:
    with context.client() as client:
        job = change(client)
    if context.json:
        context.emit(job.raw())
    else:
        context.data(sentence(job))

"""`moco cancel | pause | resume | wait | delete`: change what a job does."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mocoserve.plain_text import escaped
from service.cli.context import Shell, command
from service.cli.exit_codes import CommandError, Exit, outcome
from service.cli.options import AnyJobId, JobId, TimeoutS, job_id
from service.cli.render.outcome_text import UNHAPPY, unhappy

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


def cancel(shell: Shell, job: JobId) -> None:
    """Cancel a job at its next step. `moco resume` can restart it."""
    _change(shell, lambda client: client.jobs.cancel(job))


def pause(shell: Shell, job: JobId) -> None:
    """Pause a job at its next step, after saving a checkpoint."""
    _change(shell, lambda client: client.jobs.pause(job))


def resume(shell: Shell, job: JobId) -> None:
    """Resume a paused, failed or cancelled job from its last checkpoint."""
    _change(shell, lambda client: client.jobs.resume(job))


def wait(shell: Shell, job: AnyJobId = None, timeout: TimeoutS = None) -> Exit:
    """Wait until a job ends; the exit code is its outcome."""
    with shell.client() as client:
        found = client.jobs.wait(job_id(client, job), timeout_s=timeout)
    if shell.json:
        shell.emit(found.raw())
    if found.status in UNHAPPY:
        raise unhappy(found)
    if not shell.json:
        shell.data(sentence(found))
        verb = "download" if found.status == "succeeded" else "resume"
        shell.say(f"next: moco {verb} {found.id}")
    return outcome(found.status)


def delete(
    shell: Shell,
    job: JobId,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Delete a finished job with its checkpoints and artifacts."""
    if not yes and not agreed(f"Delete {job} and all its files? [y/N] "):
        raise CommandError(
            f"{job} was not deleted", hint="Pass --yes to delete it.", code=Exit.USAGE
        )
    with shell.client() as client:
        client.jobs.delete(job)
    if shell.json:
        shell.emit({"id": job, "object": "job", "deleted": True})
    else:
        shell.data(f"{job} deleted")


def sentence(job: "Job") -> str:
    """How the job stands, in one line."""
    reason = job.status_reason
    because = f": {reason.message or reason.code}" if reason and reason.code else ""
    return f"{job.id} {job.status}{because}"


def _change(shell: Shell, change: Callable[["Client"], "Job"]) -> None:
    with shell.client() as client:
        job = change(client)
    if shell.json:
        shell.emit(job.raw())
    else:
        shell.data(sentence(job))


def agreed(question: str) -> bool:
    """Ask at a terminal; without one the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(escaped(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""`moco workers`: who trains."""

from typing import Annotated

import typer

from service.cli import completion
from service.cli.shell import Shell, command
from service.cli.words import ago_text


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "workers")(workers)


def workers(
    shell: Shell,
    drain: Annotated[
        str | None,
        typer.Option(
            metavar="WORKER_ID",
            help="Let this one end after its job.",
            autocompletion=completion.workers,
        ),
    ] = None,
) -> None:
    """List the workers, or let one end after its job."""
    from service.cli.tables import print_table

    with shell.client() as client:
        if drain:
            answer = client.drain(drain)
            if shell.json:
                shell.emit(answer)
            else:
                shell.data(f"{drain} ends after its job")
            return
        found = client.workers()
    if shell.json:
        shell.emit({"object": "list", "data": [worker.raw() for worker in found]})
        return
    if not found:
        shell.say("No worker runs. `moco up` starts one.")
        return
    rows = (
        (w.id, w.state, ",".join(w.pools), w.device, w.host, w.job_id, ago_text(w.seen_at))
        for w in found
    )
    print_table(("ID", "STATE", "POOLS", "DEVICE", "HOST", "JOB", "SEEN"), rows)

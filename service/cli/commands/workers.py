"""`moco workers`: list workers, drain and undrain them."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import completion
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.value_text import ago_text

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Worker


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "workers")(workers)


def workers(
    context: Context,
    verb: Annotated[
        str | None,
        typer.Argument(
            metavar="[drain|undrain]", show_default=False, help="Action (default: list)."
        ),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER_ID]",
            show_default=False,
            help="Worker id.",
            autocompletion=completion.workers,
        ),
    ] = None,
    drain: Annotated[
        str | None,
        typer.Option(
            metavar="WORKER_ID",
            help="Same as `moco workers drain WORKER_ID`.",
            autocompletion=completion.workers,
        ),
    ] = None,
) -> None:
    """List workers, stop one from accepting jobs (drain), or let it accept jobs again (undrain)."""
    from service.cli.render.terminal_tables import print_table

    if drain and verb is None:
        verb, worker = "drain", drain
    with context.client() as client:
        if verb is not None:
            _change(context, client, verb, worker)
            return
        records = client.workers()
    if context.json:
        context.emit({"object": "list", "data": [worker.raw() for worker in records]})
        return
    if not records:
        context.say("No workers online. `moco up` starts one.")
        return
    print_table(
        ("ID", "STATE", "POOLS", "DEVICE", "SLOTS", "HOST", "JOBS", "SEEN"), map(_row, records)
    )
    for record in records:
        for slot, reason in record.info.get("drained", {}).items():
            context.say(
                f"{record.id}: {slot} takes no more jobs after two device errors in a row: "
                f"{reason} After the repair: `moco workers undrain {record.id}`."
            )


def _row(worker: "Worker") -> tuple[str | None, ...]:
    """Return the cells of a worker."""
    return (
        worker.id,
        worker.state,
        ",".join(worker.pools),
        worker.device,
        f"{worker.slots_busy}/{worker.slots}",
        worker.host,
        ",".join(worker.jobs) or worker.job_id,
        ago_text(worker.seen_at),
    )


def _change(context: Context, client: "Client", verb: str, worker: str | None) -> None:
    effects: dict[str, str] = {
        "drain": "accepts no new jobs; its current jobs continue",
        "undrain": "accepts jobs again",
    }
    if verb not in effects or worker is None:
        raise CommandError(
            f"moco workers {verb} needs " + ("the id of a worker" if verb in effects else "a verb"),
            hint="`moco workers drain ID` or `moco workers undrain ID`; `moco workers` lists ids.",
            code=Exit.USAGE,
        )
    answer = client.drain(worker) if verb == "drain" else client.undrain(worker)
    if context.json:
        context.emit(answer)
    else:
        context.data(f"{worker} {effects[verb]}")

"""`moco weights add | ls | rm`: weights that jobs begin with."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.commands.dataset import name_of
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.removal import Removal, remove
from service.cli.render.value_text import ago_text, bytes_text, count_text

app = typer.Typer(
    help="Add and manage pretrained weights.", no_args_is_help=True, rich_markup_mode=None
)


def add(
    context: Context,
    file: Annotated[Path, typer.Argument(help="safetensors file.", show_default=False)],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the weights (default: from the file).")
    ] = None,
) -> None:
    """Upload weights for `moco submit --init-from NAME`. Run it again to continue an upload."""
    from service.cli.render.progress_bars import transfer

    if not file.is_file():
        raise CommandError(
            f"{file} is no file", hint="Pass a safetensors file of an encoder.", code=Exit.USAGE
        )
    with context.client() as client, transfer("upload", file.stat().st_size) as moved:
        weights = client.weights.add(
            file,
            name=name or name_of(file.with_suffix("")),
            on_progress=lambda sent, _total: moved(sent),
            on_break=lambda: context.say("Connection lost; retrying for up to a minute."),
        )
    if context.json:
        context.emit(weights.raw())
        return
    context.data(weights.name)
    context.say(
        f"{weights.tensors} tensors, {count_text(weights.parameters)} values, "
        f"{bytes_text(weights.size_bytes)}."
    )
    if weights.encoder is None:
        context.say("They fit no known encoder: a job with `--encoder` shows what differs.")
        encoder = "--encoder ENCODER "
    else:
        context.say(f"They fit {weights.encoder.name}, which jobs that begin with them have.")
        encoder = ""
    context.say(f"next: moco submit -d DATASET {encoder}--init-from {weights.name}")


def ls(context: Context) -> None:
    """List weights, newest first."""
    from service.cli.render.terminal_tables import print_table

    with context.client() as client:
        weights = client.weights.list()
    if context.json:
        data = [it.raw() for it in weights]
        context.emit({"object": "list", "data": data, "has_more": False})
        return
    if not weights:
        context.say("No weights yet. Add some: `moco weights add FILE.safetensors`.")
        return
    head = ("ID", "NAME", "STATUS", "ENCODER", "TENSORS", "VALUES", "SIZE", "CREATED")
    rows = (
        (
            it.id,
            it.name,
            it.status,
            it.encoder.name if it.encoder else "-",
            str(it.tensors),
            count_text(it.parameters),
            bytes_text(it.size_bytes),
            ago_text(it.created_at),
        )
        for it in weights
    )
    print_table(head, rows)


def rm(
    context: Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Ids or names of weights.", show_default=False),
    ],
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Delete weights. Refused while a job that has not ended began with them."""
    with context.client() as client:
        records = [client.weights.get(name) for name in dict.fromkeys(names)]
        removals = [Removal(it.id, it.name, it.received_bytes) for it in records]
        remove(context, removals, client.weights.delete, object="weights", yes=yes)


for _name, _body in (("add", add), ("ls", ls), ("rm", rm)):
    command(app, _name)(_body)

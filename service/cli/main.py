"""`moco`: the command line, assembled. Imports only what `moco --help` needs."""

from typing import Annotated

import typer

from service.cli.commands import (
    admin,
    compare,
    config,
    control,
    dataset,
    doctor,
    download,
    embed,
    export,
    finetune,
    jobs,
    neighbours,
    submit,
    up,
    watch,
    weight_files,
    workers,
)
from service.cli.demo import command as demo

app = typer.Typer(
    name="moco",
    help="Turn a folder of unlabeled images into a pretrained encoder.",
    no_args_is_help=True,
    # Plain help: the framed one takes half a second longer.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"moco {version('mocoserve')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


up.register(app)
demo.register(app)
doctor.register(app)
app.add_typer(dataset.app, name="dataset")
app.add_typer(weight_files.app, name="weights")
submit.register(app)
finetune.register(app)
jobs.register(app)
watch.register(app)
control.register(app)
compare.register(app)
download.register(app)
neighbours.register(app)
embed.register(app)
workers.register(app)
app.add_typer(config.app, name="config")
app.add_typer(admin.app, name="admin")
app.add_typer(export.app, name="export")


def main() -> None:
    """Run the command that the arguments name."""
    app()

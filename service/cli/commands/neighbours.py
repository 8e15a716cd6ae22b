"""`moco neighbours`: images of a dataset that an encoder finds similar to a query."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.options import JobId

if TYPE_CHECKING:
    from mocoserve.probes import Probe, ProbeResult


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "neighbours")(neighbours)


def neighbours(
    context: Context,
    job: JobId,
    image: Annotated[
        Path | None,
        typer.Argument(help="Query image (default: images of the dataset).", show_default=False),
    ] = None,
    *,
    rows: Annotated[
        list[int] | None,
        typer.Option(
            "--row", min=0, help="Dataset row to use as a query; repeatable (default: eight rows)."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="Neighbors per query.")] = 10,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Checkpoint step (default: the final encoder, or the latest checkpoint).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write a contact sheet to this PNG file.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait.")] = 300.0,
) -> None:
    """Find the nearest neighbors of an image, or of images in the dataset."""
    if image is not None and rows:
        raise CommandError(
            "IMAGE and --row cannot be combined", hint="Pass only one of them.", code=Exit.USAGE
        )
    if image is not None and not image.is_file():
        raise CommandError(f"{image} not found", hint="Pass an image file.", code=Exit.USAGE)
    with context.client() as client:
        made = client.probes.create(job, image, rows=rows or None, checkpoint=checkpoint, k=k)
        if not made.over:
            context.say("Searching ...")
        done = client.probes.wait(job, made.id, timeout_s=timeout)
        result = _result(done)
        if out is not None:
            _save(out, client.probes.sheet(done))
    if context.json:
        context.emit(done.raw() | ({} if out is None else {"path": str(out)}))
        return
    _show(context, result, image)
    context.say(result.note)
    if out is not None:
        context.say(f"Saved as {out}.")


def _result(done: "Probe") -> "ProbeResult":
    if done.result is not None:
        return done.result
    why = done.status_reason
    raise CommandError(
        f"The search is {done.status}",
        detail=why.message if why else "",
        hint=(why.hint if why else "") or "Try again; the worker logs have the cause.",
    )


def _show(context: Context, result: "ProbeResult", image: Path | None) -> None:
    from service.cli.render.terminal_tables import print_table

    for number, probe in enumerate(result.probes):
        if number:
            context.data("")
        name = str(image) if probe.row is None else f"row {probe.row}: {probe.name}"
        context.data(name if probe.label is None else f"{name} ({probe.label})")
        print_table(
            ("similarity", "row", "label", "name"),
            (
                (f"{neighbour.similarity:.4f}", neighbour.row, neighbour.label, neighbour.name)
                for neighbour in probe.neighbours
            ),
        )


def _save(path: Path, data: bytes) -> None:
    from trainer.schema.errors import StorageError
    from trainer.util.atomic_files import replace_file

    try:
        replace_file(path, data)
    except StorageError as error:
        raise CommandError(
            f"{path} could not be written", detail=error.detail, hint="Choose another output file."
        ) from error

"""`moco compare`: settings that differ between jobs, and their results."""

from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import completion
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.value_text import duration_text, flat

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Job


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "compare")(compare)


def compare(
    context: Context,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of two or more jobs (default: the two newest).",
            show_default=False,
            autocompletion=completion.jobs,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also show settings that are equal.")
    ] = False,
) -> None:
    """Compare jobs: settings that differ, and latest results."""
    if jobs and len(jobs) < 2:
        raise CommandError(
            "Need at least two jobs to compare",
            hint="Add another job id; `moco jobs` lists them.",
            code=Exit.USAGE,
        )
    with context.client() as client:
        records = [client.jobs.get(job) for job in jobs] if jobs else _newest(client)
    config = settings(records, everything=everything)
    signals = last_signals(records)
    if context.json:
        ids = [job.id for job in records]
        context.emit({"object": "comparison", "job_ids": ids, "config": config, "signals": signals})
        return
    _print(context, records, config, signals)


def _newest(client: "Client") -> "list[Job]":
    """Return the two newest jobs, the older one first."""
    page, _ = client.jobs.list(limit=2)
    if len(page) < 2:
        raise CommandError(
            "Fewer than two jobs exist", hint="Submit another one.", code=Exit.NOT_FOUND
        )
    return page[::-1]


def settings(jobs: "list[Job]", *, everything: bool) -> dict[str, list[Any]]:
    """Return dotted field -> its value in each resolved spec; only fields that differ, or all."""
    specs = [flat(job.resolved or job.spec) for job in jobs]
    fields = dict.fromkeys(chain.from_iterable(specs))
    rows = {field: [spec.get(field) for spec in specs] for field in fields}
    return {
        field: values
        for field, values in rows.items()
        if everything or any(value != values[0] for value in values)
    }


def last_signals(jobs: "list[Job]") -> dict[str, list[float | None]]:
    """Return signal -> its last value in each job, None where it was never read."""
    readings = [job.progress.signals if job.progress else {} for job in jobs]
    names = sorted(set(chain.from_iterable(readings)))
    return {name: [signals.get(name) for signals in readings] for name in names}


def _print(
    context: Context,
    jobs: "list[Job]",
    config: dict[str, list[Any]],
    signals: dict[str, list[float | None]],
) -> None:
    from service.cli.render.terminal_tables import print_table

    blank: list[object] = [""] * (len(jobs) + 1)
    rows: list[list[object]] = [
        ["status", *(job.status for job in jobs)],
        ["step", *(_step(job) for job in jobs)],
        ["took", *(_took(job) for job in jobs)],
        blank,
    ]
    rows += [[field, *(_text(value) for value in values)] for field, values in config.items()]
    rows += [blank]
    rows += [[name, *(_text(value) for value in values)] for name, values in signals.items()]
    print_table(("", *(job.name or job.id for job in jobs)), [_ids(jobs), *rows])
    if not config:
        context.say("The jobs have the same settings.")


def _ids(jobs: "list[Job]") -> list[object]:
    return ["id", *(job.id for job in jobs)]


def _step(job: "Job") -> str | None:
    progress = job.progress
    return f"{progress.step} of {progress.steps}" if progress and progress.steps else None


def _took(job: "Job") -> str | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return duration_text(job.finished_at - job.started_at)


def _text(value: object) -> str | None:
    if isinstance(value, float):
        return f"{value:.4g}"
    return None if value is None else str(value)

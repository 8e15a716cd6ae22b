"""`moco download`: download and verify a trained encoder."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import completion
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit, outcome
from service.cli.options import AnyJobId, job_id
from service.cli.render.value_text import bytes_text

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Artifact


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "download")(download)


def download(
    context: Context,
    job: AnyJobId = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output folder (default: the job's name).")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Download only this file, or the files of this folder; repeatable.",
            autocompletion=completion.files,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="STEP|latest|best",
            help="Download the encoder of this checkpoint, of a job in any state.",
        ),
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves", help="Also download the curves, as JSON lines and for TensorBoard."
        ),
    ] = False,
) -> None:
    """Download a trained encoder and verify every file.

    --checkpoint downloads the encoder of a job that is paused, cancelled, or still runs.
    --curves also downloads metrics.jsonl and a TensorBoard event file, even of unfinished jobs.
    """
    with context.client() as client:
        job = job_id(client, job)
        if checkpoint is not None:
            # By its step: `latest` may be another one by the time its files are sent.
            checkpoint, files = _of_checkpoint(client, job, checkpoint)
        elif curves and not only:
            files = client.artifacts.list(job)
        else:
            files = _available(client, job)
        wanted = _chosen(files, only or [])
        folder = out or Path(job)
        with _explained(context, folder):
            paths = fetch(client, job, wanted, folder, checkpoint=checkpoint)
            drawn = _fetch_curves(client, job, folder) if curves else []
    if context.json:
        data = [{**file.raw(), "path": str(path)} for file, path in zip(wanted, paths, strict=True)]
        data += [{"name": path.name, "path": str(path)} for path in drawn]
        context.emit({"object": "list", "data": data, "folder": str(folder)})
        return
    for path in (*paths, *drawn):
        context.data(str(path))
    total = bytes_text(sum(file.size_bytes for file in wanted))
    if paths:
        context.say(f"{len(paths)} files, {total}, every sha256 verified.")
    if curves:
        context.say(f"curves: tensorboard --logdir {folder}")


@contextmanager
def _explained(context: Context, folder: Path) -> Iterator[None]:
    """Tell a user who interrupts that verified files stay and that the next run continues."""
    from mocoserve.errors import Unavailable, Unreachable

    again = "To continue the download, run the same command again."
    try:
        yield
    except KeyboardInterrupt:
        context.say(f"\nStopped. {again}")
        raise
    except (Unreachable, Unavailable) as error:
        raise CommandError(
            "Download interrupted",
            detail=f"{error.title}: {error.detail}",
            hint=f"Check that the server is running. {again}",
            code=Exit.UNREACHABLE,
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise CommandError(
            "Not enough disk space",
            detail=f"{folder}: {error.strerror}.",
            hint=f"Free some space, or choose another --out. {again}",
        ) from error


def _fetch_curves(client: "Client", job: str, folder: Path) -> list[Path]:
    return [
        client.artifacts.download_metrics(job, folder),
        client.artifacts.download_events(job, folder),
    ]


def fetch(
    client: "Client",
    job: str,
    files: "list[Artifact]",
    folder: Path,
    *,
    checkpoint: str | None = None,
) -> list[Path]:
    """Download `files` into `folder`, with a bar at a terminal; return the paths in order."""
    from service.cli.render.progress_bars import transfer

    with transfer("download", sum(file.size_bytes for file in files)) as moved:
        done: dict[str, int] = {}

        def show_file(name: str, here: int, _total: int) -> None:
            done[name] = here
            moved(sum(done.values()))

        return [
            client.artifacts.download(
                job, file, folder, checkpoint=checkpoint, on_progress=show_file
            )
            for file in files
        ]


def _of_checkpoint(client: "Client", job: str, step: str) -> "tuple[str, list[Artifact]]":
    """Return the step of a checkpoint that is kept, and the files of its encoder."""
    rows = [row for row in client.jobs.checkpoints(job) if row["available"]]
    steps = [str(row["step"]) for row in rows]
    best = [str(row["step"]) for row in rows if row.get("is_best")]
    chosen = next(iter({"latest": steps, "best": best}.get(step, [step])), step)
    if chosen not in steps:
        raise CommandError(
            f"{job} keeps no checkpoint {step}",
            hint=f"Choose from: {', '.join(steps)}." if steps else "It has saved none yet.",
            code=Exit.NOT_FOUND,
        )
    return chosen, client.artifacts.list(job, checkpoint=chosen)


def _available(client: "Client", job: str) -> "list[Artifact]":
    record = client.jobs.get(job)
    files = client.artifacts.list(job)
    if files:
        return files
    code = outcome(record.status)
    raise CommandError(
        f"{job} has no files to download",
        detail=f"Job is {record.status}; only completed jobs have files.",
        hint=f"See `moco show {job}`." if record.over else f"Wait for it: `moco watch {job}`.",
        code=code if code else Exit.ERROR,
    )


def _chosen(files: "list[Artifact]", only: list[str]) -> "list[Artifact]":
    names = [file.name for file in files]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    only = [name.rstrip("/") for name in only]
    if unknown := [name for name in only if name not in names and name not in folders]:
        raise CommandError(
            f"No file named {unknown[0]}",
            hint=f"Choose from: {', '.join(names)}.",
            code=Exit.NOT_FOUND,
        )
    return [
        file
        for file in files
        if not only or file.name in only or file.name.partition("/")[0] in only
    ]

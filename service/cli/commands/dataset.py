"""`moco dataset add | ls | show | report | wait | rename | rm`: management of datasets."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from service.cli import completion, ingest_flags
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.options import DatasetRef, TimeoutS
from service.cli.removal import Removal, remove
from service.cli.render.dataset_view import counts_text, facts_of
from service.cli.render.value_text import ago_text, bytes_text, count_text

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Dataset
    from mocoserve.sources import Source

ENDINGS = re.compile(
    r"(\.(zip|tar|tgz|tbz2|txz|tzst|gz|bz2|xz|zst|npy|npz|parquet))+$", re.IGNORECASE
)
"""File suffixes that are left out of a dataset's name."""

app = typer.Typer(help="Add and manage datasets.", no_args_is_help=True, rich_markup_mode=None)


def add(
    context: Context,
    /,
    path: Annotated[
        Path, typer.Argument(help="Folder, archive or array file of images.", show_default=False)
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Dataset name (default: from the path).")
    ] = None,
    format: Annotated[
        str, typer.Option(help="auto, folder, zip, tar, idx, npy or parquet.")
    ] = "auto",
    store_as: Annotated[
        str,
        typer.Option("--store-as", help="pixels, or jpeg (a tenth of the disk space, for photos)."),
    ] = "pixels",
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="CSV", help="Upload this file as the folder's labels.csv."
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Let the server read PATH directly, without a copy.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the dataset is ready.")
    ] = False,
    **flags: Any,  # noqa: ANN401  # `replace`, and those of service.cli.ingest_flags
) -> Exit | None:
    """Upload images and wait until they are ready. Run it again to continue an upload."""
    replace = bool(flags.pop("replace", False))
    options = ingest_flags.chosen(flags)
    wanted = Wanted(name or name_of(path), format, store_as, options, replace)
    if in_place and labels is not None:
        raise CommandError(
            "--labels works only with uploads",
            hint="For --in-place, save the file as labels.csv next to the images.",
            code=Exit.USAGE,
        )
    with context.client() as client:
        if in_place:
            dataset = client.datasets.create(**wanted._asdict(), path=path.resolve())
        else:
            dataset = send(context, client, path, wanted, labels=labels)
        if not no_wait:
            dataset = settle(context, client, dataset)
        return _conclude(context, client, dataset)


def name_of(path: Path) -> str:
    """Return the name of a folder or an archive as a valid name of a dataset."""
    base = ENDINGS.sub("", path.resolve().name)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-._")[:128]
    if name:
        return name
    raise CommandError(
        f"{path} does not give the dataset a name", hint="Set one with --name.", code=Exit.USAGE
    )


def ls(
    context: Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100)] = 20,
    after: Annotated[str | None, typer.Option(help="Start after the dataset with this id.")] = None,
) -> None:
    """List datasets, newest first."""
    from service.cli.render.terminal_tables import print_table

    with context.client() as client:
        page, more = client.datasets.list(limit=limit, after=after)
    if context.json:
        data = [dataset.raw() for dataset in page]
        context.emit({"object": "list", "data": data, "has_more": more})
        return
    if not page:
        context.say("No datasets yet. Add one: `moco dataset add PATH --name NAME`.")
        return
    rows = ((d.id, _named(d), d.status, *_sizes(d), ago_text(d.created_at)) for d in page)
    head = ("ID", "NAME", "STATUS", "ROWS", "CLASSES", "SIZE", "ON DISK", "CREATED")
    print_table(head, rows)
    if more:
        context.say(f"More: `moco dataset ls --after {page[-1].id}`.")


def show(context: Context, dataset: DatasetRef) -> None:
    """Show one dataset."""
    with context.client() as client:
        record = client.datasets.get(dataset)
    if context.json:
        context.emit(record.raw())
    else:
        _print(record)


def report(
    context: Context,
    dataset: DatasetRef,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 100,
    after: Annotated[int, typer.Option(min=0, help="Number of files to skip.")] = 0,
) -> None:
    """List rejected files with their reasons."""
    from service.cli.render.terminal_tables import print_table

    with context.client() as client:
        page = client.datasets.report(dataset, limit=limit, after=after)
    if context.json:
        context.emit(page.raw())
        return
    if page.data:
        rows = ((file.name, file.reason, file.detail) for file in page.data)
        print_table(("FILE", "REASON", "DETAIL"), rows)
    context.say(counts_text(page.counts))
    if page.has_more:
        context.say(f"More: `moco dataset report {dataset} --after {after + limit}`.")


def wait(context: Context, dataset: DatasetRef, timeout: TimeoutS = None) -> Exit | None:
    """Wait until a dataset is ready or has failed."""
    with context.client() as client:
        record = client.datasets.wait(dataset, timeout_s=timeout)
        return _conclude(context, client, record)


def rename(
    context: Context,
    dataset: DatasetRef,
    name: Annotated[str, typer.Argument(help="New name.", show_default=False)],
) -> None:
    """Rename a dataset. Jobs that use it continue."""
    with context.client() as client:
        record = client.datasets.rename(dataset, name)
    if context.json:
        context.emit(record.raw())
    else:
        context.data(f"{record.id} renamed to {record.name}")


def rm(
    context: Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Ids or names of datasets.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ],
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Delete datasets and their files. Refused while an unfinished job needs one."""
    with context.client() as client:
        records = [client.datasets.get(name) for name in dict.fromkeys(names)]
        removals = [Removal(it.id, it.name, it.stored_bytes) for it in records]
        remove(context, removals, client.datasets.delete, object="dataset", yes=yes)


REPLACE = inspect.Parameter(
    "replace",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            "--replace", help="Add as a new version, which takes over the name when it is ready."
        ),
    ],
)
command(app, "add", more=(*ingest_flags.PARAMETERS, REPLACE))(add)
for _name, _body in (
    ("ls", ls),
    ("show", show),
    ("report", report),
    ("wait", wait),
    ("rename", rename),
    ("rm", rm),
):
    command(app, _name)(_body)


class Wanted(NamedTuple):
    """Request for a dataset."""

    name: str
    format: str
    store_as: str = "pixels"
    options: Mapping[str, object] = MappingProxyType({})
    replace: bool = False


def send(
    context: Context, client: "Client", path: Path, wanted: Wanted, *, labels: Path | None = None
) -> "Dataset":
    """Upload the bytes of `path` that the server does not have yet."""
    from mocoserve.errors import Unavailable, Unreachable
    from mocoserve.sources import sha256_of
    from service.cli.render.progress_bars import transfer

    source = _source(path, bool(wanted.options.get("follow_links")), labels)
    with transfer("hash", source.size_bytes) as moved:
        done = 0

        def count(chunk_bytes: int) -> None:
            nonlocal done
            done += chunk_bytes
            moved(done)

        sha256 = sha256_of(source, on_bytes=count)
    if path.is_dir() and wanted.format in ("auto", "folder"):
        wanted = wanted._replace(format="tar")  # that is how a folder travels
    dataset = _begun(context, client, source, wanted, sha256=sha256)
    if dataset.status != "received":
        return dataset
    with transfer("upload", source.size_bytes) as moved:
        try:
            return client.datasets.upload(
                dataset.id,
                source,
                on_progress=lambda sent, _total: moved(sent),
                on_break=lambda: context.say("Connection lost; retrying for up to a minute."),
            )
        except KeyboardInterrupt:
            context.say("\nStopped. To continue the upload, run the same command again.")
            raise
        except (Unreachable, Unavailable) as error:
            raise CommandError(
                "Upload interrupted",
                detail=f"{error.title}: {error.detail}",
                hint="To continue the upload, run the same command again when the server is back.",
                code=Exit.UNREACHABLE,
            ) from error


def _source(path: Path, follow_links: bool, labels: Path | None) -> "Source":
    from mocoserve.errors import Unusable
    from mocoserve.sources import source_of

    try:
        return source_of(path, follow_links=follow_links, labels=labels)
    except Unusable as error:
        raise CommandError(
            error.title, detail=error.detail, hint=error.hint, code=Exit.USAGE
        ) from error


def _begun(
    context: Context, client: "Client", source: "Source", wanted: Wanted, *, sha256: str
) -> "Dataset":
    """Return a new dataset, or the one of the same name and bytes that an earlier run began."""
    from mocoserve.datasets import differing

    name = wanted.name
    existing = client.datasets.same_bytes(name, sha256) or client.datasets.find(name)
    is_same = existing is not None and existing.sha256 == sha256 and existing.status != "failed"
    if existing is None or existing.status == "failed" or (wanted.replace and not is_same):
        if existing is not None:
            word = (
                "will be replaced by this version" if existing.status != "failed" else "had failed"
            )
            context.say(f"{name} {word} ({existing.id}).")
        return client.datasets.create(
            **wanted._asdict(), size_bytes=source.size_bytes, sha256=sha256
        )
    if is_same and existing.store_as != wanted.store_as:
        raise CommandError(
            f"{name} exists with another --store-as",
            detail=f"{existing.id} ({existing.status}) stores the same content "
            f"as {existing.store_as}.",
            hint=f"Pass --store-as {existing.store_as}, or choose another --name.",
        )
    if is_same and (names := differing(existing, wanted.options)):
        were = ", ".join(f"{name} {existing.options.get(name)}" for name in names)
        raise CommandError(
            f"{name} exists with other options",
            detail=f"{existing.id} ({existing.status}) has the same content, read with {were}.",
            hint="Omit these options, or choose another --name.",
        )
    if is_same:
        word = "Continuing" if existing.status == "received" else "Already exists:"
        context.say(f"{word} {name}: the same content was uploaded before.")
        return existing
    raise CommandError(
        f"The name {name} is taken",
        detail=f"{existing.id} ({existing.status}) has different content.",
        hint="Choose another --name, or pass --replace to add a new version.",
    )


def settle(context: Context, client: "Client", dataset: "Dataset") -> "Dataset":
    """Wait until a dataset is ready or has failed, with a spinner at a terminal, and return it."""
    from service.cli.render.progress_bars import waiting

    with waiting(f"preparing {dataset.name}") as set_text:

        def look(record: "Dataset") -> None:
            job = client.jobs.get(record.job_id) if record.job_id else None
            signals = job.progress.raw() if job and job.progress else {}
            set_text(count_text(rows) + " images" if (rows := signals.get("rows_ok")) else "")

        try:
            return client.datasets.wait(dataset.id, on_look=look)
        except KeyboardInterrupt:
            context.say(
                "\nDetached; preparation continues. Wait for it: `moco dataset wait "
                f"{dataset.name}`."
            )
            raise


def _conclude(context: Context, client: "Client", dataset: "Dataset") -> Exit | None:
    """Print the status of a dataset; raise CommandError if it has failed."""
    if context.json:
        context.emit(dataset.raw())
    else:
        _print(dataset)
    if dataset.status == "failed":
        if not context.json:
            _say_report(context, client, dataset)
        reason = dataset.status_reason
        raise CommandError(
            f"{dataset.name} cannot be used",
            detail=(reason.message or reason.code) if reason else "",
            hint=(reason.hint if reason else "") or f"See `moco dataset report {dataset.name}`.",
            code=Exit.FAILED,
        )
    if dataset.status == "ready" and not context.json:
        _say_report(context, client, dataset)
        context.say(f"next: moco submit -d {dataset.name} --follow")
    return None


def _say_report(context: Context, client: "Client", dataset: "Dataset") -> None:
    counts = client.datasets.report(dataset.id, limit=1).counts
    if counts:
        context.say(f"{counts_text(counts)} List them: `moco dataset report {dataset.name}`.")


def _print(dataset: "Dataset") -> None:
    from service.cli.render.terminal_tables import print_facts

    print_facts(facts_of(dataset))


def _named(dataset: "Dataset") -> str:
    """Return the name, in brackets if it refers to another version."""
    return dataset.name if dataset.is_current else f"({dataset.name})"


def _sizes(dataset: "Dataset") -> tuple[str, str, str, str]:
    facts = dataset.facts
    rows = count_text(facts.rows) if facts else "-"
    classes = str(len(facts.labels)) if facts else "-"
    return rows, classes, bytes_text(dataset.size_bytes), bytes_text(dataset.stored_bytes)

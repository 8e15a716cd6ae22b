"""`moco submit`: start a job."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import completion
from service.cli import job_spec as specs
from service.cli.commands.watch import follow as follow_job
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.dataset_view import warning_text
from service.cli.render.value_text import bytes_text, count_text, duration_text, flat

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Preview, Scaling

Ready = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Id or name of a ready dataset.",
        autocompletion=completion.datasets,
    ),
]
Labelled = Annotated[
    str | None,
    typer.Option(
        "--test-dataset",
        help="Labeled dataset for evaluation (default: hold out 10 % of the dataset).",
        autocompletion=completion.datasets,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Such as small, resnet18 (default), convnext_tiny or vit_tiny.",
        autocompletion=completion.encoders,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="moco (default), simclr, supcon, byol and others: see docs/methods.md.",
        autocompletion=completion.methods,
    ),
]
Pretexts = Annotated[
    list[str] | None,
    typer.Option(
        "--pretext",
        metavar="NAME",
        help="Also learn from a pretext, such as rotation; alone with --method none; repeatable.",
        autocompletion=completion.pretexts,
    ),
]
Positives = Annotated[
    str | None,
    typer.Option(
        "--positives",
        help="Source of second views: self (default), label, pair or 'neighbour'.",
        autocompletion=completion.positives,
    ),
]
Splits = Annotated[
    str | None,
    typer.Option(
        "--use-splits",
        metavar="yes|no",
        help="no: train on all splits of the dataset.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Published settings: moco-v1, moco-v2 or moco-cifar10. Your own values override them.",
        autocompletion=completion.presets,
    ),
]
Exports = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        metavar="NAME",
        help="Also publish the encoder as timm, torchvision, onnx or training_state; repeatable.",
        autocompletion=completion.exports,
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="JOB[@STEP]|WEIGHTS",
        help="Begin with the encoder of a job, of its checkpoint (a step, latest or best), or with "
        "uploaded weights.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Set any field; repeatable."),
]
File = Annotated[Path | None, typer.Option("-f", "--file", help="JSON job spec; - reads stdin.")]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus", help="Total number of GPUs that train the job; they share --batch-rows."
    ),
]
BatchRows = Annotated[int | None, typer.Option(help="Batch size, in images.")]
Seed = Annotated[int | None, typer.Option(help="Random seed.")]
Name = Annotated[str | None, typer.Option(help="Optional display name.")]
Key = Annotated[
    str | None,
    typer.Option(help="Repeating a request with the same key does not create a second job."),
]
Follow = Annotated[bool, typer.Option("--follow/--detach", help="Watch the job until it ends.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show settings with reasons and cost; start nothing.")
]
Nodes = Annotated[
    int | None, typer.Option("--nodes", help="Number of machines to spread the GPUs over, evenly.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "submit")(submit)


def submit(
    context: Context,
    *,
    dataset: Ready = None,
    test_dataset: Labelled = None,
    preset: Preset = None,
    encoder: Encoder = None,
    method: Method = None,
    pretexts: Pretexts = None,
    init_from: InitFrom = None,
    positives: Positives = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the dataset.")] = None,
    batch_rows: BatchRows = None,
    seed: Seed = None,
    name: Name = None,
    profile: Annotated[bool | None, typer.Option("--profile", help="Profile the run.")] = None,
    exports: Exports = None,
    gpus: Gpus = None,
    nodes: Nodes = None,
    sets: Sets = None,
    use_splits: Splits = None,
    file: File = None,
    dry_run: DryRun = False,
    follow: Follow = False,
    idempotency_key: Key = None,
) -> Exit | None:
    """Start a job.

    Settings you omit are chosen from the dataset; `--dry-run` shows each value and its reason.
    """
    options = {
        "dataset": dataset,
        "test_dataset": test_dataset,
        "preset": preset,
        "encoder.name": encoder,
        "method.name": method,
        "auxiliary": [{"name": each} for each in pretexts or ()] or None,
        "positives.name": positives,
        "epochs": epochs,
        "batch_rows": batch_rows,
        "seed": seed,
        "name": name,
        "profile": profile,
        "exports": exports or None,
        "resources.gpus": gpus,
        "resources.nodes": nodes,
        "use_splits": _yes_or_no(use_splits),
    }
    spec = specs.from_options(options, file=file, init_from=init_from, sets=sets)
    if dry_run:
        preview(context, spec)
        return None
    return start(context, spec, idempotency_key=idempotency_key, follow=follow)


def _require_dataset(spec: dict[str, Any]) -> None:
    """Raise CommandError if a spec names no dataset."""
    if "dataset" not in spec:
        raise CommandError(
            "No dataset given",
            hint="Pass -d NAME; `moco dataset ls` lists all datasets.",
            code=Exit.USAGE,
        )


def scaling_text(scaling: "Scaling") -> str:
    """Return how many GPUs can usefully share the batch, with the assumptions."""
    return (
        f"{scaling.gpus} GPUs, {scaling.rows_per_gpu} rows each: each sends "
        f"{bytes_text(scaling.sent_bytes)} a step, about {scaling.communication_share:.1%} of the "
        f"step. This batch scales to {scaling.gpus_limit} GPUs; beyond that, communication takes "
        f"more than 20 % of a step, or a GPU has too few rows. Assumes {scaling.assumptions}."
    )


def _yes_or_no(word: str | None) -> bool | None:
    if word not in {None, "yes", "no"}:
        raise CommandError(f"--use-splits takes yes or no, not {word}", code=Exit.USAGE)
    return None if word is None else word == "yes"


def start(
    context: Context, spec: dict[str, Any], *, idempotency_key: str | None, follow: bool
) -> Exit | None:
    """Submit a job and print its id; `follow`: watch it until it ends. Raises CommandError."""
    _require_dataset(spec)
    with context.client() as client:
        job = client.jobs.create(spec, idempotency_key=idempotency_key)
        if context.json and not follow:
            context.emit(job.raw())
            return None
        if context.json:
            context.emit_line(job.raw())
        else:
            context.data(job.id)
        if not follow:
            _say_warnings(context, client, spec)
            context.say(f"next: moco watch {job.id}")
            return None
        return follow_job(context, client, job.id, line=context.say)


def _say_warnings(context: Context, client: "Client", spec: dict[str, Any]) -> None:
    """Print what a user should know of a submitted job; nothing if the server does not answer."""
    from mocoserve.errors import ClientError

    with suppress(ClientError):
        for warning in client.jobs.preview(spec).warnings:
            context.say(f"warning: {warning_text(warning)}")


def preview(context: Context, spec: dict[str, Any]) -> None:
    """Print a job as it would run, with reasons and cost. Raises CommandError."""
    _require_dataset(spec)
    with context.client() as client:
        planned = client.jobs.preview(spec)
    if context.json:
        context.emit(planned.raw())
    else:
        _print_preview(context, planned, given=flat(spec))


def _print_preview(context: Context, preview: "Preview", *, given: dict[str, Any]) -> None:
    from service.cli.render.terminal_tables import print_table

    def reason(field: str) -> str:
        if field in given:
            return "set by you"
        whole = field.rpartition(".")[0]  # such as views.second, which is suggested as a whole
        return preview.reasons.get(field) or preview.reasons.get(whole, "")

    resolved = flat(preview.resolved)
    print_table(
        ("FIELD", "VALUE", "REASON"), ((name, resolved[name], reason(name)) for name in resolved)
    )
    basis = f" ({preview.eta_basis})" if preview.eta_basis else ""
    time = "time unknown" if preview.eta_s is None else f"about {duration_text(preview.eta_s)}"
    context.say(
        f"{count_text(preview.steps)} steps, {time}{basis}, "
        f"{bytes_text(preview.memory_bytes)} of memory. Dry run: nothing was started."
    )
    if preview.scaling and preview.scaling.gpus > 1:
        context.say(scaling_text(preview.scaling))
    for warning in preview.warnings:
        context.say(f"warning: {warning_text(warning)}")

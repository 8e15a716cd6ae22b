"""`moco finetune`: train a classifier from an encoder and labeled images."""

from typing import Annotated

import typer

from service.cli import job_spec as specs
from service.cli.commands.submit import (
    BatchRows,
    DryRun,
    Encoder,
    Exports,
    File,
    Follow,
    InitFrom,
    Key,
    Labelled,
    Name,
    Ready,
    Seed,
    Sets,
    preview,
    start,
)
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit

Head = Annotated[
    str | None, typer.Option("--head", help="linear (default), or mlp for two layers.")
]
Freeze = Annotated[
    str | None,
    typer.Option(
        "--freeze",
        metavar="yes|no|EPOCHS",
        help="yes: train the head alone. A number of epochs: train it alone for these first.",
    ),
]
PerClass = Annotated[
    int | None,
    typer.Option("--labels-per-class", help="Number of labeled images of each class to train on."),
]
Balanced = Annotated[
    bool | None,
    typer.Option("--balanced", help="Give each class the same weight in the loss."),
]
Smoothing = Annotated[
    float | None,
    typer.Option("--label-smoothing", help="Share of a label that is spread over all classes."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "finetune")(finetune)


def finetune(
    context: Context,
    *,
    dataset: Ready = None,
    test_dataset: Labelled = None,
    init_from: InitFrom = None,
    encoder: Encoder = None,
    head: Head = None,
    freeze: Freeze = None,
    labels_per_class: PerClass = None,
    balanced: Balanced = None,
    label_smoothing: Smoothing = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the images.")] = None,
    batch_rows: BatchRows = None,
    seed: Seed = None,
    name: Name = None,
    exports: Exports = None,
    sets: Sets = None,
    file: File = None,
    dry_run: DryRun = False,
    follow: Follow = False,
    idempotency_key: Key = None,
) -> Exit | None:
    """Train a classifier on a labeled dataset.

    Begin with a pretrained encoder (`--init-from`); without it the encoder starts from random
    weights, to compare with. `moco download` fetches the classifier.
    """
    options = {
        "kind": "finetune",
        "dataset": dataset,
        "test_dataset": test_dataset,
        "encoder.name": encoder,
        "method.head": head,
        "method.freeze": _freeze(freeze),
        "method.labels_per_class": labels_per_class,
        "method.class_weights": "balanced" if balanced else None,
        "method.label_smoothing": label_smoothing,
        "epochs": epochs,
        "batch_rows": batch_rows,
        "seed": seed,
        "name": name,
        "exports": exports or None,
    }
    spec = specs.from_options(options, file=file, init_from=init_from, sets=sets)
    if dry_run:
        preview(context, spec)
        return None
    return start(context, spec, idempotency_key=idempotency_key, follow=follow)


def _freeze(word: str | None) -> bool | int | None:
    """Return the value of `--freeze`. Raises CommandError."""
    if word in {None, "yes", "no"}:
        return None if word is None else word == "yes"
    if word is None or not word.isdecimal():
        raise CommandError(
            f"--freeze takes yes, no or a number of epochs, not {word}", code=Exit.USAGE
        )
    return int(word)

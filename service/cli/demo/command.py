"""`moco demo`: from images to an evaluated encoder, through the real service, in three minutes."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.context import Context, guarded
from service.cli.exit_codes import CommandError, Exit, outcome

_MARK = ".moco-demo"
"""Marker file of a folder that a demo made and that the next one may empty."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo")(demo)


def demo(
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("demo"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Also keep the service's data folder.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train on handwritten digits and evaluate the encoder."""
    context = Context(url=None, key=None, data_dir=out / "server", json=json)
    raise typer.Exit(guarded(lambda: _run(context, out, keep=keep), as_json=json))


class Phases:
    """Durations of the phases of the demo."""

    def __init__(self, context: Context) -> None:
        """Start without any phase."""
        self._context = context
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, sentence: str) -> Iterator[None]:
        """Print `sentence`, and time the block."""
        self._context.say(sentence)
        start_s = time.monotonic()
        yield
        self.spent_s[name] = round(time.monotonic() - start_s, 1)


def _run(context: Context, out: Path, *, keep: bool) -> Exit:
    from service.cli.demo.processes import await_ready, launch, pixels, stopped_after

    _prepare(out)
    phases = Phases(context)
    log = out / "service.log"
    service = launch(context.data_dir, log)
    with stopped_after(service):
        with phases.phase("start", "Starting the service and writing 1,797 digits as PNG files."):
            pixels("digits", out / "digits.zip")
            await_ready(service, log)
        _train(context, phases, out)
    with phases.phase("score", "Evaluating with 5 labels per class, 20 draws."):
        result = pixels("score", out / "encoder")
    if not keep:
        shutil.rmtree(context.data_dir)
    return _conclude(context, out, {**result, "seconds": phases.spent_s})


def _train(context: Context, phases: Phases, out: Path) -> None:
    """Upload, train and download with the client, as a user would."""
    from service.cli.commands.dataset import Wanted, send, settle
    from service.cli.commands.download import fetch
    from service.cli.commands.watch import follow
    from service.cli.demo import recipe

    with context.client() as client:
        with phases.phase("upload", f"Uploading {out / 'digits.zip'} to {client.url}."):
            wanted = Wanted(recipe.DATASET, format="zip")
            sent = send(context, client, out / "digits.zip", wanted)
            _require(
                settle(context, client, sent).status == "ready", "The dataset was rejected", out
            )
        with phases.phase(
            "train", "Training. The loss rises at first, while real keys fill the queue."
        ):
            job = client.jobs.create(recipe.SPEC)
            people = Context(
                url=context.url, key=context.key, data_dir=context.data_dir, json=False
            )
            code = follow(people, client, job.id, line=context.say)
            _require(code == outcome("succeeded"), "Training failed", out)
        with phases.phase("download", f"Downloading the encoder to {out / 'encoder'}."):
            fetch(client, job.id, client.artifacts.list(job.id), out / "encoder")


def _require(fine: bool, title: str, out: Path) -> None:
    if not fine:
        logs = out / "server" / "logs"
        raise CommandError(title, detail=f"Logs are in {logs}.", hint="Check them for the cause.")


def _prepare(out: Path) -> None:
    """Make an empty folder with our marker. Raises CommandError for a folder with other files."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise CommandError(
                f"{out} is not empty and was not created by the demo",
                hint="Choose another folder with --out.",
                code=Exit.USAGE,
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def _conclude(context: Context, out: Path, result: dict[str, Any]) -> Exit:
    from service.cli.demo.recipe import MARGIN_MIN

    accuracy = {score["name"]: score["accuracy"] for score in result["scores"]}
    margin = accuracy["trained encoder"] - accuracy["raw pixels"]
    result |= {
        "margin": margin,
        "margin_min": MARGIN_MIN,
        "atlas": str(out / "encoder" / "atlas.png"),
        "encoder": str(out / "encoder" / "encoder.safetensors"),
    }
    if context.json:
        context.emit(result)
    else:
        _print(context, result)
    if margin >= MARGIN_MIN:
        return Exit.OK
    raise CommandError(
        f"The encoder beats raw pixels by {margin:.3f}, less than {MARGIN_MIN}",
        hint="Please report this with the files in the demo folder.",
    )


def _named(score: dict[str, Any]) -> str:
    return f"baseline: {score['name']}" if score["is_baseline"] else str(score["name"])


def _print(context: Context, result: dict[str, Any]) -> None:
    from service.cli.render.terminal_tables import print_table

    print_table(
        ("", "ACCURACY", "STANDARD ERROR"),
        (
            (_named(score), f"{score['accuracy']:.3f}", f"{score['standard_error']:.3f}")
            for score in result["scores"]
        ),
    )
    context.say(
        f"Accuracy on the {result['tested']:,} digits that were not labeled, by logistic "
        f"regression on {result['labels_per_class']} labels per class, mean of {result['draws']} "
        "draws. Training used every image and no label. The verdict above answers another "
        "question: there kNN uses nine labels in ten, and raw pixels of digits do as well."
    )
    context.data(f"atlas    {result['atlas']}")
    context.data(f"encoder  {result['encoder']}")
    seconds = result["seconds"]
    parts = ", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items())
    context.data(f"time     {sum(seconds.values()):.0f} s: {parts}")

"""`moco embed`: embeddings of images from a downloaded encoder, computed in a child process."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from mocoserve.launch import module_command
from service.cli.context import Context, guarded
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.value_text import count_text

_SHOWN = 20
"""Bad files beyond this number are only counted."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("embed")(embed)


def embed(
    encoder: Annotated[
        Path,
        typer.Argument(
            help="Folder created by `moco download`, or the encoder.safetensors in it.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path, typer.Argument(help="Folder or archive of images.", show_default=False)
    ],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Output Parquet file.", show_default=False)
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute embeddings of images with a downloaded encoder. Needs no server.

    The table has the columns name, label (folder name, if folders are classes) and embedding
    (float32, fixed length), like `embeddings.parquet`. Images are preprocessed like the training
    dataset. Files that are not images are listed and skipped.
    """
    context = Context(url=None, key=None, data_dir=Path(), json=json)
    words = [str(encoder), str(images), "--out", str(out), "--device", device]
    raise typer.Exit(guarded(lambda: _run(context, words), as_json=json))


def _run(context: Context, words: list[str]) -> Exit:
    if missing := [path for path in words[:2] if not Path(path).exists()]:
        raise CommandError(
            f"{missing[0]} not found",
            hint="Pass the folder created by `moco download`, then the images.",
            code=Exit.USAGE,
        )
    if find_spec("torch") is None:
        raise CommandError(
            "PyTorch is not installed; computing embeddings needs it",
            hint="Install `mocoserve[worker]`.",
        )
    arguments = module_command("trainer", "embed", *words, "--json")
    talk = None if sys.stderr.isatty() else subprocess.PIPE
    # In our process group: Ctrl-C reaches the child too, which then removes what it began.
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=talk, text=True) as child:
        try:
            output, words_beside = child.communicate()
        except KeyboardInterrupt:
            child.wait()
            raise
    result = _read(output)
    if child.returncode == 0 and result.get("object") == "embedding":
        _show(context, result)
        return Exit.OK
    raise CommandError(
        result.get("title") or f"The embedding process exited with code {child.returncode}",
        detail="" if result else (words_beside or "").strip().rpartition("\n")[2],
        hint=result.get("hint") or "Run `python -m trainer embed` to see the cause.",
    )


def _read(output: str) -> dict[str, Any]:
    try:
        result = json.loads(output)
    except ValueError:
        return {}
    return result if isinstance(result, dict) else {}


def _show(context: Context, result: dict[str, Any]) -> None:
    if context.json:
        context.emit(result)
        return
    context.data(result["path"])
    bad = result["bad_files"]
    for file in bad[:_SHOWN]:
        context.say(f"skipped {file['name']} ({file['reason']}: {file['detail']})")
    if len(bad) > _SHOWN:
        context.say(f"... and {len(bad) - _SHOWN} more; --json lists all of them.")
    rows, width = count_text(result["rows"]), result["feature_dim"]
    context.say(f"{rows} images, {width} dimensions; {len(bad)} files skipped.")

"""`moco embed`: embeddings of images from a downloaded encoder. A child has the tensors."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from mocoserve.launch import module_command
from service.cli.context import Shell, guarded
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.format import count_text

_SHOWN = 20
"""So many bad files are named one by one."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("embed")(embed)


def embed(
    encoder: Annotated[
        Path,
        typer.Argument(
            help="Folder that `moco download` made, or the encoder.safetensors in it.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path, typer.Argument(help="Folder or archive of images.", show_default=False)
    ],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Parquet file to write.", show_default=False)
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")] = False,
) -> None:
    """Turn images into embeddings with a downloaded encoder. Needs no server.

    The table has the columns name, label (the folder's name, if folders tell classes) and
    embedding (float32, fixed length), as `embeddings.parquet` has. Images are prepared as the
    dataset was; files that are no images are named and left out.
    """
    shell = Shell(url=None, key=None, data_dir=Path(), json=json)
    words = [str(encoder), str(images), "--out", str(out), "--device", device]
    raise typer.Exit(guarded(lambda: _run(shell, words), as_json=json))


def _run(shell: Shell, words: list[str]) -> Exit:
    if missing := [path for path in words[:2] if not Path(path).exists()]:
        raise CommandError(
            f"There is no file or folder {missing[0]}",
            hint="Name first the folder that `moco download` made, then the images.",
            code=Exit.USAGE,
        )
    if find_spec("torch") is None:
        raise CommandError(
            "PyTorch is not installed, so nothing can be embedded here",
            hint="Install `mocoserve[worker]`.",
        )
    arguments = module_command("trainer", "embed", *words, "--json")
    talk = None if sys.stderr.isatty() else subprocess.PIPE
    # In our process group: Ctrl-C reaches the child too, which then removes what it began.
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=talk, text=True) as child:
        try:
            told, words_beside = child.communicate()
        except KeyboardInterrupt:
            child.wait()
            raise
    found = _read(told)
    if child.returncode == 0 and found.get("object") == "embedding":
        _show(shell, found)
        return Exit.OK
    raise CommandError(
        found.get("title") or f"The embedding ended with code {child.returncode}",
        detail="" if found else (words_beside or "").strip().rpartition("\n")[2],
        hint=found.get("hint") or "`python -m trainer embed` shows why.",
    )


def _read(told: str) -> dict[str, Any]:
    try:
        found = json.loads(told)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _show(shell: Shell, found: dict[str, Any]) -> None:
    if shell.json:
        shell.emit(found)
        return
    shell.data(found["path"])
    bad = found["bad_files"]
    for file in bad[:_SHOWN]:
        shell.say(f"left out: {file['name']} ({file['reason']}: {file['detail']})")
    if len(bad) > _SHOWN:
        shell.say(f"... and {len(bad) - _SHOWN} more; --json names all.")
    rows, width = count_text(found["rows"]), found["feature_dim"]
    shell.say(f"{rows} images, {width} numbers each; {len(bad)} files left out.")

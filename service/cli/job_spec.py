"""Job spec from a file, options and `--set`, in that order."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from service.cli.exit_codes import CommandError, Exit


def from_options(
    options: Mapping[str, object],
    *,
    file: Path | None,
    init_from: str | None,
    sets: Iterable[str] | None,
) -> dict[str, Any]:
    """Return the spec in `file` with options, those of `--init-from` and `--set` on top.

    Raises CommandError.
    """
    spec = with_options(load(file), {**options, **init_options(init_from)})
    return with_sets(spec, sets or [])


def load(file: Path | None) -> dict[str, Any]:
    """Return the JSON object in `file`; `-` is stdin, None an empty spec. Raises CommandError."""
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        spec = json.loads(text)
    except OSError as error:
        raise _bad(f"{file} cannot be read", error.strerror or str(error)) from error
    except ValueError as error:
        raise _bad(f"{file} is not valid JSON", str(error)) from error
    if not isinstance(spec, dict):
        raise _bad(
            f"{file} does not contain a JSON object", "A spec looks like {'dataset': 'cifar10'}."
        )
    return spec


def with_sets(spec: Mapping[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """Return `spec` with each `key.path=value` set; values are JSON, else plain text.

    Raises:
        CommandError: no `=`, or the path goes through something that is no object.
    """
    made = json.loads(json.dumps(spec))
    for entry in sets:
        path, equals, text = entry.partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise _bad(f"--set {entry} is not key.path=value", "Such as --set optim.lr=0.06.")
        _put(made, names, _value(text), entry)
    return dict(made)


def with_options(spec: Mapping[str, Any], options: Mapping[str, object]) -> dict[str, Any]:
    """Return `spec` with each option that was given; dotted names refer to nested fields."""
    made = json.loads(json.dumps(spec))
    for name, value in options.items():
        if value is not None:
            _put(made, name.split("."), value, name)
    return dict(made)


def init_options(text: str | None) -> dict[str, str | int | None]:
    """Return the options of `--init-from`: `job_...`, `job_...@STEP`, or the name of weights."""
    if text is None:
        return {}
    name, _, step = text.partition("@")
    if not name.startswith("job_"):
        return {"init_from.weights": text}
    checkpoint = int(step) if step.isdecimal() else step or None
    return {"init_from.job": name, "init_from.checkpoint": checkpoint}


def _put(spec: dict[str, Any], names: list[str], value: object, entry: str) -> None:
    *outer, last = names
    for name in outer:
        spec = spec.setdefault(name, {})
        if not isinstance(spec, dict):
            raise _bad(f"--set {entry}: {name} has no fields", f"{name} is a plain value.")
    spec[last] = value


def _value(text: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value


def _bad(title: str, detail: str) -> CommandError:
    hint = "See `--help`. `--dry-run` checks a spec without running it."
    return CommandError(title, detail=detail, hint=hint, code=Exit.USAGE)

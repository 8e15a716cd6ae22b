"""Exit code and output of a `moco` command in a test."""

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

Moco = Callable[..., Result]
"""Runs one command: the arguments, and changes to the environment by keyword."""


def answer(result: Result) -> dict[str, Any]:
    """The JSON object on stdout."""
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed

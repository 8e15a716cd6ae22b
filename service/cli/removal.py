"""Deletion of several things by one command, after a confirmation."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mocoserve.plain_text import escaped
from service.cli.context import Context
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.value_text import bytes_text


@dataclass(frozen=True, slots=True)
class Removal:
    """Dataset or weights that a command is to delete."""

    id: str
    name: str
    size_bytes: int | None
    """Bytes that it takes on the server's disk."""


def remove(
    context: Context,
    removals: Sequence[Removal],
    delete: Callable[[str], None],
    *,
    object: str,
    yes: bool,
) -> None:
    """Delete each, by its id, and print what is freed; without `yes` a person is asked first.

    `object` is its type in JSON. Raises CommandError if the answer is no.
    """
    listed = ", ".join(f"{it.name} ({bytes_text(it.size_bytes)})" for it in removals)
    if not yes and not confirmed(f"Delete {listed}? This cannot be undone. [y/N] "):
        raise CommandError(
            "Nothing was deleted", hint="Pass --yes to skip the confirmation.", code=Exit.USAGE
        )
    for removal in removals:
        delete(removal.id)
        if not context.json:
            context.data(f"{removal.name} deleted, {bytes_text(removal.size_bytes)} freed")
    if context.json:
        data = [{"id": removal.id, "object": object, "deleted": True} for removal in removals]
        context.emit({"object": "list", "data": data})


def confirmed(question: str) -> bool:
    """Ask for confirmation at a terminal; without one the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(escaped(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""Tables and facts on stdout, colored only on a terminal. Imported late: rich is slow."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mocoserve.plain_text import escaped

_STYLES = {
    "succeeded": "green",
    "ready": "green",
    "ok": "green",
    "running": "cyan",
    "busy": "cyan",
    "preparing": "cyan",
    "failed": "red",
    "fail": "red",
    "lost": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "stopping": "yellow",
    "draining": "yellow",
    "warn": "yellow",
}
_WIDE = 10_000


def console_for(*, talk: bool = False) -> Console:
    """Return a console on stdout, or stderr for messages. A pipe is never wrapped nor colored."""
    stream = sys.stderr if talk else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column names, without a frame."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(escaped(column), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console = console_for()
    console.print(table, soft_wrap=not console.is_terminal)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print a name and value on each line; None is left out, a tuple has a line for each item."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(escaped(name), _cell(value))
    console = console_for()
    console.print(table, soft_wrap=not console.is_terminal)


def _cell(value: object) -> Text:
    lines = value if isinstance(value, tuple) else (value,)
    text = "-" if value is None else "\n".join(escaped(str(line)) for line in lines)
    return Text(text, style=_STYLES.get(text, ""))

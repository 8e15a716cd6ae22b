"""Progress bars on stderr; nothing at all where that is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.cli.tables import console_for


@contextmanager
def transfer(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes; the block calls it with how many are done."""
    console = console_for(talk=True)
    if not console.is_terminal:
        yield lambda _done: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total_bytes)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def steps() -> Iterator[Callable[[str, int, int | None, str], None]]:
    """A bar of steps; the block calls it with the state, steps done, steps in all, and words."""
    console = console_for(talk=True)
    columns = (TextColumn("{task.description}"), BarColumn(16), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, words="")

        def show(state: str, done: int, total: int | None, words: str) -> None:
            progress.update(task, description=state, completed=done, total=total, words=words)

        yield show


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with words beside it; nothing where stderr is no terminal."""
    console = console_for(talk=True)
    if not console.is_terminal:
        yield lambda _words: None
        return
    with console.status(what) as status:
        yield lambda words: status.update(f"{what}  {words}")

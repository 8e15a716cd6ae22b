"""Progress bars on stderr; nothing where stderr is not a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from mocoserve.plain_text import escaped
from service.cli.render.terminal_tables import console_for


@contextmanager
def transfer(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes; the block calls it with the number done."""
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
        task = progress.add_task(escaped(what), total=total_bytes)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def steps(
    chart: Callable[[], list[str]],
) -> Iterator[Callable[[str, int, int | None, str], None]]:
    """Show a bar of steps; the block calls it with state, steps done, total steps and text.

    `chart` makes the lines above the bar; a thread calls it whenever both are drawn, four times
    a second.
    """
    console = console_for(talk=True)
    columns = (TextColumn("{task.description}"), BarColumn(16), TextColumn("{task.fields[words]}"))
    progress = Progress(*columns, console=console)
    task = progress.add_task("", total=None, words="")

    def both() -> Group:
        return Group(
            *(Text(escaped(line), no_wrap=True) for line in chart()), progress.get_renderable()
        )

    with Live(get_renderable=both, console=console, refresh_per_second=4):

        def show(state: str, done: int, total: int | None, words: str) -> None:
            progress.update(
                task, description=state, completed=done, total=total, words=escaped(words)
            )

        yield show


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with text; nothing where stderr is not a terminal."""
    console = console_for(talk=True)
    if not console.is_terminal:
        yield lambda _words: None
        return
    with console.status(what) as status:
        yield lambda words: status.update(f"{what}  {words}")

"""`moco watch`: live progress of a job until its end."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.context import Context, command
from service.cli.exit_codes import Exit, outcome
from service.cli.options import AnyJobId, job_id
from service.cli.render.outcome_text import UNHAPPY, duration_suffix, outcome_error
from service.cli.render.verdict_text import lines as verdict_lines
from service.cli.render.verdict_text import verdict_of

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Event, Job, Verdict
    from service.cli.render.job_tracker import JobTracker

_LINE_EVERY_S = 5.0
_WIDE_COLUMNS = 140
_LINES_MIN, _CHART_ROWS, _CHART_COLUMNS_MAX = 16, 8, 100


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "watch")(watch)


def watch(
    context: Context,
    job: AnyJobId = None,
    after: Annotated[
        str | None, typer.Option(help="Only events after this id.", metavar="EVENT_ID")
    ] = None,
) -> Exit:
    """Watch a job until it ends. Ctrl-C detaches; the job continues."""
    with context.client() as client:
        return follow(context, client, job_id(client, job), after=after, line=context.data)


def follow(
    context: Context,
    client: "Client",
    job: str,
    *,
    after: str | None = None,
    line: Callable[[str], None],
) -> Exit:
    """Show a job until it is over or paused; `line` prints plain lines."""
    try:
        if context.json:
            last = _events_as_json(context, client, job, after)
        else:
            last = _events_for_people(context, client, job, after=after, line=line)
    except KeyboardInterrupt:
        context.say(f"\nDetached; {job} continues. Watch it again: `moco watch {job}`")
        return Exit.DETACHED
    if not context.json:
        _print_end(context, last, line=line)
    if last.status in UNHAPPY:
        raise outcome_error(last)
    return outcome(last.status)


def _events_as_json(context: Context, client: "Client", job: str, after: str | None) -> "Job":
    for event in _events(client, job, after):
        context.emit_line(event.raw())
    return client.jobs.get(job)


def _events(client: "Client", job: str, after: str | None) -> "Iterator[Event]":
    """Yield events until the job is over or is paused now; pauses of the past do not count."""
    for event in client.jobs.events(job, after=after):
        yield event
        paused = event.type == "status" and event.event.get("status") == "paused"
        if paused and client.jobs.get(job).status == "paused":
            return


def _events_for_people(
    context: Context,
    client: "Client",
    job: str,
    *,
    after: str | None,
    line: Callable[[str], None],
) -> "Job":
    from service.cli.render.job_tracker import JobTracker

    record = client.jobs.get(job)
    tracker = JobTracker(record)
    _print_start(context, client, record)
    if sys.stderr.isatty():
        # The stream keeps the newest events only; the curve begins with the job.
        tracker.recall(client.jobs.metrics(job, names=("loss",), max_points=_CHART_COLUMNS_MAX * 2))
    with _display(tracker, line) as show:
        for event in _events(client, job, after):
            show(event, tracker.feed(event, now_s=time.time()))
    return client.jobs.get(job)


@contextmanager
def _display(
    tracker: "JobTracker", line: Callable[[str], None]
) -> "Iterator[Callable[[Event, bool], None]]":
    if not sys.stderr.isatty():
        yield _plain(tracker, line)
        return
    from service.cli.render.progress_bars import steps

    # Asked before the bar puts a stream of its own in place of this one.
    can_write = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
    with steps(lambda: _chart(tracker) if can_write else []) as bar:

        def show(event: "Event", notable: bool) -> None:
            narrow = get_terminal_size().columns < _WIDE_COLUMNS
            words = tracker.words(short=narrow) if tracker.steps else ""
            bar(tracker.status, tracker.step, tracker.steps, words)
            if event.type == "logged":
                line(f"{event.event.get('level')}: {event.event.get('message')}")
            elif event.type == "profiled" and notable:
                line(str(event.event.get("sentence")))
            elif event.type == "judged" and notable:
                _print_verdict(tracker.verdict, line)

        yield show


def _chart(tracker: "JobTracker") -> list[str]:
    """Return the chart of the loss, empty where the terminal has no room for it."""
    from service.cli.render.braille_chart import draw

    size = get_terminal_size()
    if size.lines < _LINES_MIN:
        return []
    columns = min(size.columns, _CHART_COLUMNS_MAX)
    mark = tracker.signals.get("chance_loss")
    drawn = draw(dict(tracker.losses), columns=columns, rows=_CHART_ROWS, mark=mark)
    return [tracker.title(), *drawn] if drawn else []


def _plain(tracker: "JobTracker", line: Callable[[str], None]) -> "Callable[[Event, bool], None]":
    told_s = 0.0

    def show(event: "Event", notable: bool) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if event.type == "logged":
            line(f"{event.event.get('level')}: {event.event.get('message')}")
        elif event.type == "status":
            reason = event.event.get("message") or event.event.get("code")
            line(f"{tracker.status}" + (f": {reason}" if reason else ""))
        elif event.type == "profiled":
            if notable:
                line(str(event.event.get("sentence")))
        elif event.type == "judged":
            if notable:
                _print_verdict(tracker.verdict, line)
        elif notable or (event.type == "stepped" and now_s - told_s >= _LINE_EVERY_S):
            told_s = now_s
            line(tracker.words())

    return show


def _print_verdict(verdict: "Verdict | None", line: Callable[[str], None]) -> None:
    for text in verdict_lines(verdict):
        line(text)


def _print_start(context: Context, client: "Client", job: "Job") -> None:
    if job.status != "queued":
        return
    reason = client.jobs.get(job.id).waiting_reason
    if reason and reason.code != "waiting_for_slots":
        context.say(f"The job is queued. {reason.message} {reason.hint}")


def _print_end(context: Context, job: "Job", *, line: Callable[[str], None]) -> None:
    if job.progress and job.progress.profile:
        from service.cli.render.profile_view import table

        for text in table(job.progress.profile):
            line(text)
    if job.status in UNHAPPY:
        return
    if job.status == "succeeded":
        _print_verdict(verdict_of(job), line)
    line(f"{job.id} {job.status}{duration_suffix(job)}")
    verb = "download" if job.status == "succeeded" else "resume"
    context.say(f"next: moco {verb} {job.id}")

"""`moco jobs | show | logs`: jobs, their state and their logs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import completion
from service.cli.context import Context, command
from service.cli.options import AnyJobId, job_id
from service.cli.render.value_text import ago_text, bytes_text, duration_text
from service.cli.render.verdict_text import verdict_of

if TYPE_CHECKING:
    from mocoserve.client import Client
    from mocoserve.models import Evaluation, Job, Progress


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    command(app, "jobs")(list_jobs)
    command(app, "show")(show)
    command(app, "logs")(logs)


def list_jobs(
    context: Context,
    status: Annotated[
        str | None,
        typer.Option(
            help=f"Show only one status: {', '.join(completion.STATES)}.",
            autocompletion=completion.states,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100)] = 20,
    after: Annotated[str | None, typer.Option(help="Start after the job with this id.")] = None,
) -> None:
    """List jobs, newest first."""
    from service.cli.render.terminal_tables import print_table

    with context.client() as client:
        page, more = client.jobs.list(status=status, after=after, limit=limit)
    if context.json:
        data = [job.raw() for job in page]
        context.emit({"object": "list", "data": data, "has_more": more})
        return
    if not page:
        context.say("No jobs yet. Submit one: `moco submit -d NAME`.")
        return
    head = ("ID", "STATUS", "PROGRESS", "VERDICT", "KNN (RAW)", "NAME", "CREATED")
    print_table(head, (_row(job) for job in page))
    if more:
        context.say(f"More: `moco jobs --after {page[-1].id}`.")


def show(context: Context, job: AnyJobId = None) -> None:
    """Show a job's status, progress and latest results."""
    from service.cli.render.terminal_tables import print_facts

    with context.client() as client:
        record = client.jobs.get(job_id(client, job))
        evaluation = _evaluation(client, record)
    if context.json:
        context.emit(record.raw() | ({"evaluation": evaluation.raw()} if evaluation else {}))
        return
    print_facts(_facts(record))
    if record.progress and record.progress.profile:
        from service.cli.render.profile_view import table

        for text in table(record.progress.profile):
            context.data(text)
    if evaluation:
        from service.cli.render.evaluation_tables import print_evaluation

        print_evaluation(evaluation, say=context.data)


def _evaluation(client: "Client", job: "Job") -> "Evaluation | None":
    """Return what the evaluators measured; None if nothing, or if the server is of before."""
    from mocoserve.errors import ApiError, Unavailable

    if not job.attempt:
        return None
    try:
        return client.jobs.evaluation(job.id)
    except Unavailable:
        raise
    except ApiError:
        return None


def logs(
    context: Context,
    job: AnyJobId = None,
    tail: Annotated[int, typer.Option("-n", "--tail", min=1, help="Number of lines.")] = 200,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the log until the job ends.")
    ] = False,
) -> None:
    """Print the log of a job's latest attempt."""
    with context.client() as client:
        job = job_id(client, job)
        page = client.jobs.logs(job, tail=tail)
        if context.json and not follow:
            context.emit(page.raw())
            return
        _print_lines(context, list(page.lines), attempt=page.attempt)
        while follow and not client.jobs.get(job).over:
            time.sleep(1.0)
            now = client.jobs.logs(job, tail=1000)
            old = list(page.lines) if now.attempt == page.attempt else []
            _print_lines(context, unseen(old, list(now.lines)), attempt=now.attempt)
            page = now


def unseen(old: list[str], new: list[str]) -> list[str]:
    """Return the lines of the tail `new` that follow those of the tail `old`."""
    for count in range(min(len(old), len(new)), 0, -1):
        for start in range(len(new) - count + 1) if count == len(old) else (0,):
            if new[start : start + count] == old[-count:]:
                return new[start + count :]
    return new


def _print_lines(context: Context, lines: list[str], *, attempt: int) -> None:
    for line in lines:
        if context.json:
            context.emit_line({"attempt": attempt, "line": line})
        else:
            context.data(line)


def _row(job: "Job") -> tuple[object, ...]:
    progress = job.progress
    share = f"{progress.step}/{progress.steps}" if progress and progress.steps else None
    verdict = verdict_of(job)
    word = verdict.word if verdict else None
    status = f"{job.status}: {waits}" if (waits := _waits_for(job)) else job.status
    return job.id, status, share, word, _figure(job), job.name, ago_text(job.created_at)


def _waits_for(job: "Job") -> str | None:
    """Return why a queued job cannot start, in a word or two; None if it starts by itself."""
    return _WAITS.get(job.waiting_reason.code) if job.waiting_reason else None


_WAITS = {
    "no_worker": "no worker",
    "workers_draining": "workers draining",
    "no_worker_fits": "no worker fits",
}


def _figure(job: "Job") -> str | None:
    """Return `knn_top1`, followed by that of the raw input."""
    signals = job.progress.signals if job.progress else {}
    if "knn_top1" not in signals:
        return None
    raw = signals.get("knn_top1_raw")
    return f"{signals['knn_top1']:.1%}" + (f" ({raw:.1%})" if raw is not None else "")


def _best(progress: "Progress") -> str | None:
    """Return the best evaluation so far, if the job has `best_by`."""
    best = progress.best
    return f"{best.signal} {best.value:.4g} at step {best.step}" if best else None


def _facts(job: "Job") -> list[tuple[str, object]]:
    progress, verdict = job.progress, verdict_of(job)
    reason = job.waiting_reason or job.status_reason
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("name", job.name),
        ("status", job.status),
        ("reason", f"{reason.message or reason.code}" if reason else None),
        ("next", (reason.hint or None) if reason else None),
        ("verdict", f"{verdict.word}: {verdict.evidence}" if verdict else None),
        ("advice", verdict.advice if verdict else None),
        ("queue position", job.queue_position),
        ("dataset", job.dataset_id),
        ("worker", job.worker_id),
        ("GPUs", gpus_text(job)),
        ("attempt", job.attempt or None),
        ("created", ago_text(job.created_at)),
        ("run time", _took(job)),
        ("on disk", bytes_text(job.stored_bytes) if job.stored_bytes else None),
    ]
    if progress and progress.steps:
        facts += [
            ("step", f"{progress.step} of {progress.steps}"),
            ("epoch", f"{progress.epoch:g} of {progress.epochs:g}" if progress.epochs else None),
            ("time left", duration_text(progress.eta_s) if progress.eta_s else None),
            ("precision", progress.precision),
            ("best", _best(progress)),
            ("ended early", progress.ends_early or None),
        ]
        facts += [(name, f"{value:.4g}") for name, value in sorted(progress.signals.items())]
    return facts


def gpus_text(job: "Job") -> str | None:
    """Return the GPUs of a job that has several: `8, on 2 nodes`."""
    resources = (job.resolved or job.spec).get("resources") or {}
    gpus, nodes = resources.get("gpus", 1), resources.get("nodes", 1)
    if gpus == 1:
        return None
    return f"{gpus}" if nodes == 1 else f"{gpus}, on {nodes} nodes"


def _took(job: "Job") -> str | None:
    if job.started_at is None:
        return None
    return duration_text((job.finished_at or time.time()) - job.started_at)

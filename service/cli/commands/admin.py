"""`moco admin`: check that disk and Redis agree, and rebuild a lost Redis.

These speak to the store itself, so they work while the API is down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit

if TYPE_CHECKING:
    from service.ledger.consistency import Finding
    from service.store.store import Store

app = typer.Typer(help="Check the store, or rebuild it from the disk.", no_args_is_help=True)
Redis = Annotated[
    str | None,
    typer.Option(
        "--redis", envvar="MOCO_REDIS_URL", help="Redis URL (default: the data folder's own)."
    ),
]


def verify(
    context: Context,
    redis: Redis = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also verify the checksum of every file.")
    ] = False,
) -> Exit:
    """Check that every job exists once and every file is intact."""
    from service.ledger.audit import audit

    with _store(context, redis) as store:
        checked = audit(store, context.data_dir, deep=deep)
    if context.json:
        context.emit(
            {
                "object": "verification",
                "ok": not checked.findings,
                "jobs": checked.jobs,
                "datasets": checked.datasets,
                "findings": [finding._asdict() for finding in checked.findings],
            }
        )
    else:
        _show(context, checked.findings)
        what = f"{checked.jobs} jobs, {checked.datasets} datasets"
        bad = len(checked.findings)
        context.say(f"{what}: {f'{bad} findings' if bad else 'no problems'}.")
    return Exit.ERROR if checked.findings else Exit.OK


def reconcile(context: Context, redis: Redis = None) -> None:
    """Rebuild jobs that Redis lost from the disk."""
    from dataclasses import asdict

    from service.ledger.store_identity import ensure_identity

    with _store(context, redis) as store:
        report = ensure_identity(store, context.data_dir, whole=True)
    if context.json:
        context.emit({"object": "reconciliation", **asdict(report)})
        return
    context.data(
        f"{report.jobs} jobs and {report.datasets} datasets restored, "
        f"{report.deleted} deletions finished, {report.dropped} doubles dropped "
        f"in {report.elapsed_s:.1f} s"
    )
    for path in report.damaged:
        context.say(f"{path} cannot be read.")


command(app, "verify")(verify)
command(app, "reconcile")(reconcile)


def _show(context: Context, findings: "tuple[Finding, ...]") -> None:
    from service.cli.render.terminal_tables import print_table

    if findings:
        print_table(("WHAT", "WHERE", "DETAIL"), (finding[:3] for finding in findings))
    for hint in dict.fromkeys((finding.what, finding.next) for finding in findings):
        context.say(f"{hint[0]}: {hint[1]}")


@contextmanager
def _store(context: Context, redis: str | None) -> "Iterator[Store]":
    """Open the store that `moco up` uses; start its Redis server if it is not running."""
    from service.ledger.stamp import check_layout
    from service.store.embedded.server import running_url, start_redis
    from service.store.store import open_store
    from service.store.store_errors import StoreError
    from service.store.store_settings import StoreSettings

    if not context.data_dir.is_dir():
        raise CommandError(
            f"Data folder {context.data_dir} not found", hint="Set it with --data-dir."
        )
    url = redis or running_url(context.data_dir)
    try:
        check_layout(context.data_dir)
        mine = None if url else start_redis(context.data_dir)
        if mine and mine.set_aside:
            context.say(
                f"The files of Redis were damaged and are kept in {mine.set_aside}. "
                "`moco admin reconcile` or the next `moco up` rebuilds all jobs from the disk."
            )
        try:
            store = open_store(
                StoreSettings(data_dir=context.data_dir, redis_url=mine.url if mine else url)
            )
            try:
                yield store
            finally:
                store.close()
        finally:
            if mine:
                mine.stop()
    except StoreError as error:
        raise CommandError(
            "The store cannot be used", detail=str(error), hint="`moco doctor` looks for it."
        ) from error

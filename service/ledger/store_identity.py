"""Identity of the Redis: notice one that was emptied, refuse one that belongs elsewhere.

Data folder and Redis carry the same random name. A Redis without a name is new or was emptied: it
is made from the ledgers first and named last, so that a rebuild that breaks off is begun again.
"""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from service.ledger.reconcile import Report, reconcile
from service.ledger.stamp import stamp_layout
from service.store.store import Store
from service.store.store_errors import Misconfigured
from trainer.util.atomic_files import replace_file

log = structlog.get_logger("service.ledger")
FILE, LOCK = "store.id", "reconcile.lock"


def ensure_identity(store: Store, data_dir: Path, *, whole: bool = False) -> Report:
    """Make sure that Redis knows what the disk knows, and belongs to this data folder.

    From then on calls of `store` are refused as StoreLost when Redis is emptied again. Only one
    process does this at a time; others wait. `whole` reads every ledger even of a Redis that
    lost nothing. The data folder is stamped with the layout of this version.

    Raises:
        Misconfigured: Redis belongs to another data folder, or the folder has a newer layout.
        StoreUnavailable, OSError: no answer; call it again.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(data_dir):
        stamp_layout(data_dir)
        mine, theirs = stored_id(data_dir), store.rebuild.identity()
        if theirs is not None and theirs != mine:
            raise Misconfigured(_other(data_dir, mine, theirs))
        if mine is None:
            mine = secrets.token_hex(8)
            replace_file(data_dir / FILE, f"{mine}\n".encode())
        elif theirs is None:
            log.error("redis_lost_its_data", next="rebuilding it from the ledgers")
        report = reconcile(store, data_dir, whole=whole or theirs is None)
        if not store.rebuild.identify(mine):
            raise Misconfigured(_other(data_dir, mine, "another"))
    _log_report(report)
    store.client.expected = mine
    return report


def stored_id(data_dir: Path) -> str | None:
    """Return the identity of the data folder's Redis; None before the first start."""
    try:
        return (data_dir / FILE).read_text("ascii").strip() or None
    except FileNotFoundError:
        return None


def _log_report(report: Report) -> None:
    if report.jobs or report.datasets or report.deleted or report.dropped:
        log.warning(
            "rebuilt_from_disk",
            jobs=report.jobs,
            datasets=report.datasets,
            deleted=report.deleted,
            dropped=report.dropped,
            elapsed_s=round(report.elapsed_s, 2),
        )
    for place in report.damaged:
        log.error("ledger_damaged", place=place)


def _other(data_dir: Path, mine: str | None, theirs: str) -> str:
    own = f"{data_dir} belongs to {mine}" if mine else f"{data_dir} is new"
    return (
        f"Redis belongs to another data folder: it is named {theirs}, and {own}. Set MOCO_DATA_DIR "
        "to the folder that this Redis served, or MOCO_REDIS_URL to another Redis or database "
        "number. If its jobs may be forgotten, empty it: FLUSHDB."
    )


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with (data_dir / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

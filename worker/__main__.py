"""`python -m worker`: one worker, with its settings from the environment (`MOCO_...`)."""

import logging
import secrets
import socket
import sys
import time
from contextlib import ExitStack

from pydantic import ValidationError

from service.ledger.stamp import check_layout
from service.server.api_keys import WeakKey, load_keys
from service.server.listeners import PortTaken, handed_over
from service.store.errors import Misconfigured, StoreUnavailable
from service.store.store import Store, open_store
from trainer import failpoints
from worker.attempt.runner import Workplace
from worker.process.forkserver_client import Nursery
from worker.process.shutdown import Shutdown, Wake
from worker.settings import WorkerSettings
from worker.supervisor import CannotStart, Supervisor
from worker.telemetry.gpu import choose, describe, installed
from worker.telemetry.metrics import WorkerMetrics
from worker.telemetry.metrics_server import ScrapeServer

LOG = logging.getLogger("worker")
COMPILED = ("trainer.views.kernels", "trainer.batchnorm.kernels")
"""Modules that are compiled when they are loaded."""
ENTRY = "worker.process.child_main:run"
STORE_WAIT_S = 30.0
"""How long a worker that starts before its Redis waits for it."""


def main() -> int:
    """Run one worker; 0 after it was told to leave, 1 if it could not work."""
    try:
        settings = WorkerSettings()
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        _work(settings)
    except ValidationError as error:
        return _sorry("\n".join(_in_words(error)))
    except (CannotStart, PortTaken, Misconfigured, StoreUnavailable, WeakKey) as error:
        return _sorry(str(error))
    except (ValueError, OSError) as error:
        return _sorry(str(error))
    return 0


def _work(settings: WorkerSettings) -> None:
    _check(settings)
    device = choose(settings.device)
    worker_id = f"{settings.name or socket.gethostname()}-{secrets.token_hex(4)}"
    metrics = WorkerMetrics(worker_id, device=device, scrape_s=settings.scrape_s)
    wake = Wake()
    shutdown = Shutdown(wake)
    shutdown.listen()
    with ExitStack() as stack:
        compiles = settings.compile_ahead and device == "cpu"
        nursery = Nursery(ENTRY, preload=COMPILED if compiles else ())
        stack.callback(nursery.close)
        nursery.ensure()  # it imports while the store is being opened
        store = _open_patiently(settings, shutdown)
        if store is None:
            return
        stack.callback(store.close)
        if settings.metrics_port is not None:
            server = stack.enter_context(_server(settings, metrics))
            LOG.info("metrics at http://%s:%d/metrics", settings.metrics_host, server.port)
        LOG.info("worker %s on %s takes %s", worker_id, device, ", ".join(settings.pools))
        place = Workplace(settings, store, nursery, metrics, shutdown, wake, device)
        Supervisor(place, worker_id, describe(device, settings.threads)).run()


def _check(settings: WorkerSettings) -> None:
    """What can be known to be wrong before anything starts."""
    failpoints.check()
    if installed("torch") is None:
        raise CannotStart("torch is not installed. Run `pip install 'mocoserve[worker]'`.")
    if not settings.data_dir.is_dir():
        raise CannotStart(
            f"MOCO_DATA_DIR is {settings.data_dir}, which is no folder. Name the data folder of "
            "the service; the worker must see the same one."
        )
    check_layout(settings.data_dir)


def _open_patiently(settings: WorkerSettings, shutdown: Shutdown) -> Store | None:
    """The store, as soon as it answers; None if told to leave meanwhile."""
    until_s = time.monotonic() + STORE_WAIT_S
    while not shutdown.asked:
        try:
            return open_store(settings)
        except StoreUnavailable as error:
            if time.monotonic() > until_s:
                raise StoreUnavailable(
                    f"{error} Check MOCO_REDIS_URL, and that the server runs."
                ) from error
            time.sleep(0.5)
    return None


def _server(settings: WorkerSettings, metrics: WorkerMetrics) -> ScrapeServer:
    keys, port = load_keys(settings), settings.metrics_port or 0
    handle = settings.listen_fd
    return ScrapeServer(
        settings.metrics_host,
        port,
        keys=keys,
        render=metrics.render,
        listener=None if handle is None else handed_over(handle),
    )


def _in_words(error: ValidationError) -> list[str]:
    """Which variable is wrong, and why."""
    return [
        f"MOCO_{'_'.join(map(str, row['loc'][:1])).upper()}: {row['msg']}" for row in error.errors()
    ]


def _sorry(why: str) -> int:
    print(f"The worker cannot start. {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

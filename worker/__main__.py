"""Run one worker, `python -m worker`; its settings come from the environment (`MOCO_...`)."""

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
from service.store.store import Store, open_store
from service.store.store_errors import Misconfigured, StoreUnavailable
from trainer.util import failpoints
from worker.attempt.attempt_runner import WorkerContext
from worker.gpus.inventory import inventory
from worker.process.forkserver_client import ForkserverClient
from worker.process.shutdown import Shutdown, WakePipe
from worker.settings import WorkerSettings
from worker.slots import CPU, SlotPool, device_label, slot_devices, threads_of_a_slot
from worker.supervisor import CannotStart, Supervisor
from worker.telemetry.host_info import describe, installed
from worker.telemetry.metrics import WorkerMetrics
from worker.telemetry.metrics_server import MetricsServer

LOG = logging.getLogger("worker")
COMPILED = ("trainer.accel.cpu.augment.view_kernels", "trainer.accel.cpu.batchnorm.kernels")
"""Modules that compile when they are imported."""
ENTRY = "worker.process.child_main:run"
STORE_WAIT_S = 30.0
"""Longest wait for Redis at the start."""


def main() -> int:
    """Run one worker. Returns 0 after it was asked to leave, 1 if it could not start."""
    try:
        settings = WorkerSettings()
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        _work(settings)
    except ValidationError as error:
        return _report("\n".join(_problems(error)))
    except (CannotStart, PortTaken, Misconfigured, StoreUnavailable, WeakKey) as error:
        return _report(str(error))
    except (ValueError, OSError) as error:
        return _report(str(error))
    return 0


def _work(settings: WorkerSettings) -> None:
    _check(settings)
    gpus = inventory(settings.device)
    for note in gpus.notes:
        LOG.warning(note)
    devices = slot_devices(
        [gpu.uuid for gpu in gpus.devices], names=settings.device, count=settings.slots
    )
    slots = SlotPool(devices)
    device = device_label(gpu.card for gpu in gpus.devices if gpu.uuid in devices)
    worker_id = f"{settings.name or socket.gethostname()}-{secrets.token_hex(4)}"
    metrics = WorkerMetrics(worker_id, device=device, slots=slots, scrape_s=settings.scrape_s)
    wake_pipe = WakePipe()
    shutdown = Shutdown([wake_pipe, *slots.wake_pipes])
    shutdown.listen()
    with ExitStack() as stack:
        compiles = settings.compile_ahead and device == CPU
        forkserver = ForkserverClient(ENTRY, preload=COMPILED if compiles else ())
        stack.callback(forkserver.close)
        forkserver.ensure()  # it imports while the store is being opened
        store = _wait_for_store(settings, shutdown)
        if store is None:
            return
        stack.callback(store.close)
        if settings.metrics_port is not None:
            server = stack.enter_context(_server(settings, metrics))
            LOG.info("metrics at http://%s:%d/metrics", settings.metrics_host, server.port)
        pools = ", ".join(settings.pools)
        LOG.info("worker %s: %d slots on %s take %s", worker_id, len(slots), device, pools)
        threads = settings.threads or threads_of_a_slot(len(devices))
        context = WorkerContext(settings, store, forkserver, metrics, shutdown, wake_pipe, threads)
        info = describe(gpus, devices, threads)
        Supervisor(context, worker_id, slots, device=device, info=info).run()


def _check(settings: WorkerSettings) -> None:
    """Raise CannotStart, or ValueError, for what is wrong before anything starts."""
    failpoints.check()
    if installed("torch") is None:
        raise CannotStart("torch is not installed. Run `pip install 'mocoserve[worker]'`.")
    if not settings.data_dir.is_dir():
        raise CannotStart(
            f"MOCO_DATA_DIR is {settings.data_dir}, which is no folder. Name the data folder of "
            "the service; the worker must see the same one."
        )
    check_layout(settings.data_dir)


def _wait_for_store(settings: WorkerSettings, shutdown: Shutdown) -> Store | None:
    """Return the store once it answers; None if asked to leave meanwhile."""
    deadline_s = time.monotonic() + STORE_WAIT_S
    while not shutdown.requested:
        try:
            return open_store(settings)
        except StoreUnavailable as error:
            if time.monotonic() > deadline_s:
                raise StoreUnavailable(
                    f"{error} Check MOCO_REDIS_URL, and that the server runs."
                ) from error
            time.sleep(0.5)
    return None


def _server(settings: WorkerSettings, metrics: WorkerMetrics) -> MetricsServer:
    keys, port = load_keys(settings), settings.metrics_port or 0
    handle = settings.listen_fd
    return MetricsServer(
        settings.metrics_host,
        port,
        keys=keys,
        render=metrics.render,
        listener=None if handle is None else handed_over(handle),
    )


def _problems(error: ValidationError) -> list[str]:
    """Return a line for each wrong variable, with the reason."""
    return [
        f"MOCO_{'_'.join(map(str, row['loc'][:1])).upper()}: "
        + row["msg"].removeprefix("Value error, ")
        for row in error.errors()
    ]


def _report(problem: str) -> int:
    print(f"The worker cannot start. {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

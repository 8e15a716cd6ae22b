"""Prometheus exporter of the service's state: jobs, queue, workers, disk. Run it once."""

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from service.api.deps import Services
from service.api.routes import health
from service.files.disk_usage import StorageMeter
from service.jobs.waiting import count_reasons, fitting_shapes, idle_workers
from service.ledger.journaled_store import JournaledStore
from service.observability.metric_definitions import LABEL_VALUES
from service.observability.metrics import Instruments
from service.server import problems
from service.server.api_keys import load_keys
from service.server.auth import AuthMiddleware
from service.server.head_as_get import HeadAsGet
from service.server.middleware import RequestMiddleware
from service.settings import ApiSettings
from service.store.records import Depth, WorkerRecord
from service.store.store import Store
from service.store.store_errors import StoreError

CACHE_S = 1.0
STORAGE_EVERY_S = 60.0
"""Interval of disk measurements: walking the data folder takes seconds with many jobs."""
OUTCOMES = {"ok": "ok", "bad": "corrupt", "duplicate": "skipped"}
"""Label `outcome` -> status in the store."""
SERVED = frozenset({"/livez", "/metrics"})


class State(Instruments):
    """Instruments that read the store when they are rendered, at most once a second."""

    def __init__(
        self,
        registry: CollectorRegistry,
        store: Store,
        data_dir: Path,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(registry, "state")
        self._store, self._data_dir, self._now_s = store, data_dir, now_s
        self._storage = StorageMeter(data_dir, every_s=STORAGE_EVERY_S)
        self._reading = threading.Lock()
        self._read_at_s = -math.inf
        self._workers: set[str] = set()
        self._pools: set[str] = set()

    def render(self) -> bytes:
        """Return the page of `/metrics`. Without the store it says `moco_redis_up 0`."""
        with self._reading:
            if self._now_s() - self._read_at_s >= CACHE_S:
                self._collect()
                self._read_at_s = self._now_s()
            return super().render()

    def _collect(self) -> None:
        began_s = self._now_s()
        free, total = self._disk_bytes()
        self.set("moco_storage_free_bytes", free, volume="data")
        self.set("moco_storage_total_bytes", total, volume="data")
        for use, size_bytes in self._storage.read().items():
            self.set("moco_storage_used_bytes", size_bytes, use=use)
        try:
            counted = self._store.counters.read()
            self._read_jobs(counted)
            self._read_datasets(counted)
            workers = self._store.workers.list()
            self._read_pools(workers)
            self._read_workers(workers)
            self.set("moco_redis_up", 1.0)
        except StoreError:
            self.set("moco_redis_up", 0.0)
            self.inc("moco_state_collect_errors_total")
        self.set("moco_state_collect_duration_seconds", self._now_s() - began_s)

    def _disk_bytes(self) -> tuple[int, int]:
        """Return free and total bytes of the disk."""
        try:
            usage = shutil.disk_usage(self._data_dir)
        except OSError:
            return 0, 0  # a folder that is gone holds nothing more
        return usage.free, usage.total

    def _read_jobs(self, counted: dict[str, int]) -> None:
        for status, number in self._store.jobs.counts().items():
            self.set("moco_jobs", number, status=status)
        self.total("moco_jobs_submitted_total", counted.get("submitted", 0))
        for result in LABEL_VALUES["result"]:
            self.total(
                "moco_jobs_finished_total", counted.get(f"finished:{result}", 0), result=result
            )
        retries = dict.fromkeys(LABEL_VALUES["reason"], 0)
        for name, number in counted.items():
            kind, _, code = name.partition(":")
            if kind == "retries":
                reason = code if code in retries else "failure"
                retries[reason] += number
        for reason, number in retries.items():
            self.total("moco_job_retries_total", number, reason=reason)

    def _read_datasets(self, counted: dict[str, int]) -> None:
        self.total("moco_dataset_bytes_ingested_total", counted.get("dataset_bytes", 0))
        for outcome, word in OUTCOMES.items():
            images = counted.get(f"dataset_images:{word}", 0)
            self.total("moco_dataset_images_total", images, outcome=outcome)

    def _read_pools(self, workers: Sequence[WorkerRecord]) -> None:
        depths = {pool: self._store.jobs.depth(pool) for pool in self._store.jobs.pools()}
        served = {pool for worker in workers for pool in worker.pools}
        for pool, depth in depths.items():
            self.set("moco_queue_jobs", depth.jobs, pool=pool)
            fitting = Depth(fitting_shapes(pool, depth.shapes, workers))
            self.set(
                "moco_queue_oldest_enqueued_timestamp_seconds",
                fitting.oldest_queued_at_s or 0.0,
                pool=pool,
            )
            counts = count_reasons(pool, depth.shapes, workers)
            for reason in LABEL_VALUES["waiting_reason"]:
                number = counts.get(reason, 0)
                self.set("moco_queue_waiting", number, pool=pool, waiting_reason=reason)
        for pool in served | depths.keys() | self._pools:
            shapes = depths[pool].shapes if pool in depths else {}
            idle = idle_workers(pool, shapes, workers)
            self.set("moco_queue_idle_workers", len(idle), pool=pool)
        self._pools |= served

    def _read_workers(self, workers: Sequence[WorkerRecord]) -> None:
        states = dict.fromkeys(LABEL_VALUES["state"], 0)
        for worker in workers:
            states[worker.state] += 1
            self.set(
                "moco_worker_last_heartbeat_timestamp_seconds",
                worker.seen_at_s,
                worker=worker.id,
            )
        for state, number in states.items():
            self.set("moco_workers", number, state=state)
        names = {worker.id for worker in workers}
        for gone in self._workers - names:
            self.forget("worker", gone)
        self._workers = names


def create_exporter(settings: ApiSettings, store: Store) -> FastAPI:
    """Return the exporter as an ASGI application: `/metrics` and `/livez`, same keys."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = State(CollectorRegistry(), store, settings.data_dir)
    requests = Instruments(CollectorRegistry(), "api")
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestMiddleware, instruments=requests),
            Middleware(AuthMiddleware, keys=load_keys(settings), on_refusal=lambda: None),
            Middleware(HeadAsGet, routes=()),
        ],
    )
    app.state.services = Services(
        settings, JournaledStore(store, settings.data_dir), store.events.broadcaster(), state
    )
    app.router.routes.extend(
        route for route in health.router.routes if getattr(route, "path", "") in SERVED
    )
    problems.install(app)
    return app

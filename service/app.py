"""The ASGI application, made from its settings and its store. Nothing here is global."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from service.api.deps import Services
from service.api.openapi import describe
from service.api.routes import (
    api_docs,
    artifacts,
    checkpoint_encoders,
    curve_downloads,
    dataset_content,
    dataset_report,
    datasets,
    health,
    job_curves,
    job_evaluation,
    job_events,
    jobs,
    neighbours,
    weight_files,
    workers,
)
from service.jobs.submit_batcher import SubmitBatcher
from service.ledger.deletions import settle_unanswered
from service.ledger.journaled_store import JournaledStore
from service.ledger.store_identity import ensure_identity, stored_id
from service.maintenance.cleanup import CleanupThread
from service.maintenance.lease_reaper import LeaseReaper
from service.observability.metrics import Instruments
from service.server import problems
from service.server.api_keys import load_keys
from service.server.auth import AuthMiddleware
from service.server.head_as_get import HeadAsGet
from service.server.middleware import RequestMiddleware
from service.server.sessions import Sessions
from service.settings import ApiSettings
from service.store.store import Store
from service.web import pages, sign_in
from service.web.assets import load_assets

REST_S = 0.5
"""Pause before a store that hangs is asked again."""
ROUTERS = (
    datasets.router,
    dataset_content.router,
    jobs.router,
    job_events.router,
    job_curves.router,
    job_evaluation.router,
    curve_downloads.router,
    artifacts.router,
    checkpoint_encoders.router,
    neighbours.router,
    weight_files.router,
    workers.router,
    health.router,
    dataset_report.router,
    api_docs.router,
    pages.router,
)
OPEN = sign_in.router
"""Routes that need no key."""


class Api(FastAPI):
    """FastAPI with our description of the interface."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return describe(self)


def create_app(settings: ApiSettings, store: Store) -> FastAPI:
    """Return the ASGI application. Its lifespan runs reaper, cleanup and event broadcaster.

    Raises WeakKey when the key could be guessed.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = load_keys(settings)
    store_id = stored_id(settings.data_dir)
    sessions = Sessions(keys, data_dir=settings.data_dir, store_id=store_id)
    instruments = Instruments(CollectorRegistry(), "api")
    own_routes = [route for router in (*ROUTERS, OPEN) for route in router.routes]
    app = Api(
        title="mocoserve",
        version=version("mocoserve"),
        openapi_url=None,  # served by routes.api_docs, so that its requests are counted
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": settings.root_path or "/"}],
        lifespan=_lifespan,
        middleware=[
            Middleware(RequestMiddleware, instruments=instruments, root_path=settings.root_path),
            Middleware(
                AuthMiddleware,
                keys=keys,
                sessions=sessions,
                on_refusal=lambda: instruments.inc("moco_auth_failures_total"),
            ),
            Middleware(HeadAsGet, routes=own_routes),
        ],
    )
    store.client.rest_s = REST_S
    journal = JournaledStore(store, settings.data_dir)
    app.state.services = Services(settings, journal, store.events.broadcaster(), instruments)
    app.state.submit_batcher = SubmitBatcher(journal)
    app.state.sessions, app.state.assets = sessions, load_assets()
    app.router.routes.extend(own_routes)
    problems.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    store, settings = services.store, services.settings
    reaper = LeaseReaper(
        store.queue,
        tick_s=settings.tick_s,
        on_lost=lambda: ensure_identity(store, settings.data_dir),
        on_answer=lambda: settle_unanswered(services.journal),
    )
    cleanup = CleanupThread(services.journal, settings)
    reaper.start()
    cleanup.start()
    try:
        yield
    finally:
        await run_in_threadpool(app.state.submit_batcher.close)
        await run_in_threadpool(cleanup.stop)
        await run_in_threadpool(reaper.stop)
        await run_in_threadpool(services.broadcaster.stop)

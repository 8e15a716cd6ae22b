"""Routes for the service itself: liveness, readiness, metrics, disk usage and version."""

import platform
import shutil
from importlib.metadata import version as version_of

from fastapi import APIRouter
from starlette.responses import Response

from service.api.deps import ServicesDep
from service.api.openapi import refused
from service.api.schemas.jobs_and_datasets import StatusReason
from service.api.schemas.service_status import Alive, Ready, Storage, Version
from service.files.disk_errors import translate_disk_errors
from service.jobs.planner import INGEST_POOL
from service.jobs.waiting import queue_reasons
from service.observability.metrics import CONTENT_TYPE
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.store import Store

router = APIRouter(tags=["service"], route_class=StrictRoute)


@router.get("/livez", operation_id="getLivez", summary="Liveness", response_description="Yes.")
async def livez() -> Alive:
    """Does not check the store: the process is alive even if the store is down."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="getReadyz",
    summary="Readiness",
    response_description="Yes.",
    responses=refused("not_ready"),
)
def readyz(services: ServicesDep) -> Ready:
    """Checks the store and the free space in the data folder."""
    services.store.ping()
    try:
        free = shutil.disk_usage(services.settings.data_dir).free
    except OSError as error:
        raise Problem("not_ready", f"The data folder: {error.strerror}.") from None
    if free < services.settings.disk_free_bytes_min:
        detail = f"Only {free} bytes free in the data folder."
        raise Problem("not_ready", detail, hint="Free up space in the data folder.")
    return Ready(disk_free_bytes=free, warnings=_warnings(services.store))


@router.get(
    "/v1/storage",
    operation_id="getStorage",
    summary="Disk usage",
    response_description="Bytes per use, as `du` counts them.",
)
def storage(services: ServicesDep) -> Storage:
    """Measured at most every ten seconds. Datasets and jobs report their own `stored_bytes`."""
    with translate_disk_errors():
        free_bytes = shutil.disk_usage(services.settings.data_dir).free
    uses = services.storage.read()
    return Storage(total_bytes=sum(uses.values()), free_bytes=free_bytes, uses=uses)


def _warnings(store: Store) -> list[StatusReason]:
    """Return why jobs wait, of the usual pools and of those of the newest that wait."""
    pools = {"train", INGEST_POOL}
    pools |= {job.pool for job in store.jobs.list(status="queued", limit=100).data}
    waiting = {pool: store.jobs.depth(pool).shapes for pool in pools}
    reasons = queue_reasons(waiting, store.workers.list())
    return [StatusReason(**reason._asdict()) for reason in reasons]


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Prometheus metrics",
    response_class=Response,
    response_description="Prometheus text format.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(services: ServicesDep) -> Response:
    """Metrics of this process. Workers and the state exporter have their own."""
    return Response(services.instruments.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/version", operation_id="getVersion", summary="Version", response_description="This.")
async def version() -> Version:
    """Return the versions of the service and the API."""
    return Version(version=version_of("mocoserve"), python=platform.python_version())

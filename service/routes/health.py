"""The service itself: alive, ready, measured, and which version."""

import platform
import shutil
from importlib.metadata import version as version_of

from fastapi import APIRouter
from starlette.responses import Response

from service.body import StrictRoute
from service.health import Alive, Ready, Version
from service.metrics import CONTENT_TYPE
from service.openapi import refused
from service.problems import Problem
from service.routes.common import PartsOf

router = APIRouter(tags=["service"], route_class=StrictRoute)


@router.get(
    "/livez", operation_id="getLivez", summary="Is the process alive", response_description="Yes."
)
async def livez() -> Alive:
    """The store is not asked: while it is away the process is still alive."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="getReadyz",
    summary="Can the service work",
    response_description="Yes.",
    responses=refused("not_ready"),
)
def readyz(parts: PartsOf) -> Ready:
    """Asks the store, and looks at the space in the data folder."""
    parts.store.ping()
    try:
        free = shutil.disk_usage(parts.settings.data_dir).free
    except OSError as error:
        raise Problem("not_ready", f"The data folder: {error.strerror}.") from None
    if free < parts.settings.disk_free_bytes_min:
        detail = f"Only {free} bytes are free in the data folder."
        raise Problem("not_ready", detail, hint="Free space in the data folder.")
    return Ready(disk_free_bytes=free)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    response_description="The text format of Prometheus.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(parts: PartsOf) -> Response:
    """Of this process. Workers and the state exporter have their own."""
    return Response(parts.instruments.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get(
    "/version", operation_id="getVersion", summary="What runs here", response_description="This."
)
async def version() -> Version:
    """The versions of the service and of its interface."""
    return Version(version=version_of("mocoserve"), python=platform.python_version())

"""All dashboards, as the files that Grafana reads."""

import json

from service.observability.dashboards.api import API
from service.observability.dashboards.machines import WORKERS
from service.observability.dashboards.overview import OVERVIEW
from service.observability.dashboards.panels import Dashboard
from service.observability.dashboards.training import TRAINING

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, TRAINING, WORKERS, API)


def dashboard_files() -> dict[str, str]:
    """File name -> JSON."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.as_json(), indent=2, ensure_ascii=False)
        + "\n"
        for dashboard in DASHBOARDS
    }

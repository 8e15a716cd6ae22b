"""Files for a Prometheus and a Grafana of your own. YAML is written as JSON values."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SCRAPE_INTERVAL = "5s"
SHIPPED = files("service.observability")
RUNBOOK = "docs/runbook.md"
"""Path of the runbook that the alerts link to in a checkout."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Addresses, as `host:port`, that Prometheus asks for `/metrics`."""

    api: tuple[str, ...]
    workers: tuple[str, ...]
    state: str
    key_file: Path
    """File with the scrape key, as Prometheus can read it."""


def prometheus_files(targets: Targets, *, folder: Path) -> dict[str, str]:
    """Return name -> text: a config for these targets, the rules, the alerts, and their runbook.

    `folder` is where the files will be; the alerts name the runbook there.
    """
    shipped = SHIPPED / "prometheus"
    alerts = (shipped / "alerts.yml").read_text("utf-8")
    return {
        "prometheus.yml": _scrape_config(targets),
        "rules.yml": (shipped / "rules.yml").read_text("utf-8"),
        "alerts.yml": alerts.replace(RUNBOOK, str(folder / "runbook.md")),
        "runbook.md": (shipped / "runbook.md").read_text("utf-8"),
    }


def grafana_files(*, prometheus_url: str, folder: Path) -> dict[str, str]:
    """Return path -> text: the dashboards, and the provisioning that loads them from `folder`."""
    dashboards = {
        f"dashboards/{file.name}": file.read_text("utf-8")
        for file in (SHIPPED / "grafana").iterdir()
        if file.name.endswith(".json")
    }
    return {
        "provisioning/datasources/mocoserve.yml": _data_source(prometheus_url),
        "provisioning/dashboards/mocoserve.yml": _provider(folder / "dashboards"),
        **dict(sorted(dashboards.items())),
    }


def _scrape_config(targets: Targets) -> str:
    jobs = (
        ("moco-api", targets.api),
        ("moco-worker", targets.workers),
        ("moco-state", (targets.state,)),
    )
    head = (
        "# Start with: prometheus --config.file=prometheus.yml\n"
        "# Each worker is a target; moco-state is scraped once, or every job would count twice.\n"
        f"global:\n  scrape_interval: {SCRAPE_INTERVAL}\n  scrape_timeout: 4s\n\n"
        'rule_files: ["rules.yml", "alerts.yml"]\n\n'
        "scrape_configs:\n"
    )
    return head + "\n".join(
        f"  - job_name: {name}\n"
        f"    authorization:\n      credentials_file: {json.dumps(str(targets.key_file))}\n"
        f"    static_configs:\n      - targets: {json.dumps(list(addresses))}\n"
        for name, addresses in jobs
    )


def _data_source(url: str) -> str:
    return f"""\
apiVersion: 1
datasources:
  - name: Prometheus (mocoserve)
    uid: mocoserve-prometheus
    type: prometheus
    access: proxy
    url: {json.dumps(url)}
    jsonData:
      # The scrape interval: a shorter one makes rates of a single sample, which show nothing.
      timeInterval: {SCRAPE_INTERVAL}
"""


def _provider(dashboards: Path) -> str:
    return f"""\
apiVersion: 1
providers:
  - name: mocoserve
    type: file
    disableDeletion: true
    allowUiUpdates: false
    options:
      path: {json.dumps(str(dashboards))}
"""

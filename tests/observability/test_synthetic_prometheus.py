"""The shipped configs and every query of dashboards and rules, on a real Prometheus."""

import math
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.observability.metric_definitions import Target
from service.observability.metrics import METRICS
from tests.support.observability.promql import (
    ALERTS,
    RULES,
    Query,
    Rule,
    filled,
    operands,
    parsed,
    queries,
    rules,
)
from tests.support.observability.synthetic import KEY, TARGETS, Synthetic, served
from tests.support.system.processes import wait_until
from tests.support.system.required_tools import needs

REPO = Path(__file__).resolve().parents[2]
CONFIG = REPO / "docker" / "prometheus" / "prometheus.yml"
SCRAPES_S = 8.0

promtool = needs("promtool")


def _config(folder: Path, ports: dict[Any, int]) -> Path:
    """The shipped config, with the targets and the key of this test and a scrape each second."""
    key = folder / "key"
    key.write_text(KEY)
    config = yaml.safe_load(CONFIG.read_text())
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["global"] = every
    config["rule_files"] = [str(RULES), str(ALERTS)]
    for job in config["scrape_configs"]:
        target = job["job_name"].removeprefix("moco-")
        job.pop("dns_sd_configs", None)
        job["authorization"]["credentials_file"] = str(key)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[target]}"]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@promtool
def test_the_config_is_valid(tmp_path: Path) -> None:
    """promtool also looks for the key and the rules: a copy of the config finds them."""
    (tmp_path / "mocoserve").symlink_to(RULES.parent)
    key = tmp_path / "key"
    key.write_text(KEY)
    copy = tmp_path / "prometheus.yml"
    copy.write_text(CONFIG.read_text().replace("/run/secrets/moco_scrape_key", str(key)))
    done = subprocess.run(
        ["promtool", "check", "config", str(copy)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@promtool
@pytest.mark.parametrize("target", TARGETS)
def test_promtool_finds_no_fault_in_a_page_of_metrics(target: Target) -> None:
    synthetic = Synthetic()
    synthetic.tick()
    page = synthetic.instruments[target].render()
    done = subprocess.run(
        ["promtool", "check", "metrics"], check=False, input=page, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_config_scrapes_the_three_targets_with_the_key() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {f"moco-{target}" for target in TARGETS}
    compose = yaml.safe_load((REPO / "docker-compose.yml").read_text())
    for job in jobs.values():
        assert job["authorization"]["credentials_file"] == "/run/secrets/moco_scrape_key"
        for service in _services(job):
            assert service in compose["services"]
    source = REPO / "docker" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    assert [Path(name).name for name in config["rule_files"]] == [RULES.name, ALERTS.name]
    (mount,) = (v for v in compose["services"]["prometheus"]["volumes"] if "observability" in v)
    assert mount == "./service/observability/prometheus:/etc/prometheus/mocoserve:ro"
    data = yaml.safe_load(source.read_text())["datasources"][0]["jsonData"]
    assert data["timeInterval"] == config["global"]["scrape_interval"]


def _services(job: dict[str, Any]) -> list[str]:
    if "dns_sd_configs" in job:
        return list(job["dns_sd_configs"][0]["names"])
    return [target.partition(":")[0] for target in job["static_configs"][0]["targets"]]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped the synthetic targets for some seconds."""
    folder = tmp_path_factory.mktemp("prometheus")
    with served(Synthetic()) as ports:
        config, port = _config(folder, ports), _free_port()
        command = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as client:
                _wait(client, folder / "log")
                time.sleep(SCRAPES_S)
                yield client
        finally:
            process.terminate()
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(client: httpx.Client, log: Path) -> None:
    for _ in range(300):
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def _ask(client: httpx.Client, expr: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": expr}).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _finite(found: list[dict[str, Any]]) -> None:
    assert found
    assert all(math.isfinite(float(row["value"][1])) for row in found)


@pytest.mark.slow
@needs("prometheus")
class TestLive:
    def test_all_three_targets_are_up(self, prometheus: httpx.Client) -> None:
        up = {row["metric"]["job"]: row["value"][1] for row in _ask(prometheus, "up")}
        assert up == {f"moco-{target}": "1" for target in TARGETS}

    @pytest.mark.parametrize("query", queries(), ids=str)
    def test_a_panel_shows_finite_numbers(self, prometheus: httpx.Client, query: Query) -> None:
        _finite(_ask(prometheus, filled(query.expr, rate_interval="5s")))

    @pytest.mark.parametrize("rule", rules(RULES), ids=lambda rule: rule.name)
    def test_a_recorded_series_is_finite(self, prometheus: httpx.Client, rule: Rule) -> None:
        _finite(_ask(prometheus, rule.name))

    @pytest.mark.parametrize("alert", rules(ALERTS), ids=lambda alert: alert.name)
    def test_an_alert_can_be_judged(self, prometheus: httpx.Client, alert: Rule) -> None:
        """Each side of its conditions is a finite number, whether or not they hold."""
        for expr in operands(parsed(alert.expr)):
            _finite(_ask(prometheus, expr))

    def test_prometheus_evaluates_every_rule_without_an_error(
        self, prometheus: httpx.Client
    ) -> None:
        groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"] for rule in found} == {r.name for r in (*rules(RULES), *rules(ALERTS))}
        assert {rule["health"] for rule in found} == {"ok"}

    def test_the_words_of_an_alert_are_filled_in(self, prometheus: httpx.Client) -> None:
        """Some of the synthetic values are such that alerts wait for their time."""

        def active() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
            return found

        wait_until(lambda: len(active()) >= 2, 30.0, "rules are evaluated one after the other")
        for alert in active():
            words = " ".join(alert["annotations"].values())
            assert "<error" not in words
            assert "{{" not in words
            assert "<no value>" not in words

    def test_every_metric_of_the_table_arrives(self, prometheus: httpx.Client) -> None:
        names = prometheus.get("/api/v1/label/__name__/values").json()["data"]
        for row in METRICS:
            assert f"{row.name}_bucket" in names if row.type == "histogram" else row.name in names

    def test_the_choice_of_jobs_finds_the_job(self, prometheus: httpx.Client) -> None:
        match = {"match[]": "moco_job_info"}
        found = prometheus.get("/api/v1/label/job_id/values", params=match).json()
        assert found["data"] == ["job-1"]

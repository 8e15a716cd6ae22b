"""`make observability`: Debian's Prometheus scrapes a real service in which real digits train."""

import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from service.observability.metrics import METRICS, SIGNAL_METRICS
from tests.support.observability.live import Live, Prometheus, in_background, running_live
from tests.support.observability.promql import (
    ALERTS,
    RULES,
    Query,
    filled,
    operands,
    parsed,
    queries,
    rules,
)
from tests.support.system.processes import wait_until
from tests.support.system.required_tools import needs
from trainer.evaluators.registry import evaluator_names, part_of
from trainer.methods.registry import method_names

pytestmark = [
    pytest.mark.observability,
    pytest.mark.timeout(1500),
    needs("prometheus"),
]
JOBS = 50
QUICK = {"encoder": {"name": "small"}, "batch_rows": 32}
SERIES = 'count({__name__=~"moco_.+"})'
LEARNED_S = 45.0
"""Seconds of training before the queries."""
NEEDS: dict[str, dict[str, object]] = {
    "moco": {"temperature": {"learned": 0.07}},
    "anomaly": {"normal": ["0"]},
    "linear": {"positive_label": "1"},
    "few_label": {"positive_label": "1"},
    "classifier": {"positive_label": "1"},
}
"""Settings that a method or an evaluator needs to have all its signals."""

EVALUATED = {
    "moco": [name for name in evaluator_names() if name != "classifier"],
    "classification": ["classifier"],
}
"""Method -> the evaluators of its job."""

PRETEXTS = [{"name": name} for name in ("rotation",)]
BESIDE: dict[str, dict[str, object]] = {
    "moco": {"auxiliary": PRETEXTS, "test_dataset": "digits"},
    "none": {"auxiliary": PRETEXTS},
    "classification": {"test_dataset": "digits"},
}
"""Settings of a job beside its method: pretexts, and images to measure them on."""


def _tell(text: str) -> None:
    """A figure for who runs this; shown because the target does not capture."""
    sys.stdout.write(f"\n{text}\n")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running_live(tmp_path_factory.mktemp("live")) as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(live: Live) -> Prometheus:
    """It sees from the beginning how the service gets its dataset `digits`."""
    found = live.scraped()
    live.moco("dataset", "add", str(live.digits(200)), "--masks", "masks", "--name", "digits")
    return found


def _named(name: str) -> dict[str, object]:
    return {"name": name, **NEEDS.get(name, {})}


@pytest.fixture(scope="class")
def toured(live: Live, prometheus: Prometheus) -> set[Query]:
    """The queries with finite data while a job of each method trained, with all evaluators of its
    kind where the method is the default one.
    """
    seen: set[Query] = set()
    for method in method_names():
        evaluators = EVALUATED.get(method, [])
        spec = {"dataset": "digits", "epochs": 20_000, "signals_every_steps": 5, **QUICK}
        rounds = [{**_named(name), "every_epochs": 5} for name in evaluators]
        spec |= {"method": _named(method), "evaluation": rounds or None}
        job = live.client.jobs.create(spec | BESIDE.get(method, {}))
        signals = [name for each in evaluators for name in part_of(each, "spec").SIGNALS]
        for name in SIGNAL_METRICS.keys() & {"loss", *signals}:
            _wait_for(prometheus, f'{SIGNAL_METRICS[name]}{{job_id="{job.id}"}}')
        _wait_for(prometheus, f'moco_train_steps_total{{job_id="{job.id}"}} > 20')
        seen |= {query for query in queries() if _is_finite(prometheus, query)}
        live.client.jobs.cancel(job.id)
        live.client.jobs.wait(job.id)
    return seen


def _wait_for(prometheus: Prometheus, series: str) -> None:
    wait_until(lambda: bool(prometheus.ask(series)), 180.0, series)


def _is_finite(prometheus: Prometheus, query: Query) -> bool:
    return prometheus.is_finite(filled(query.expr, rate_interval="20s"))


@pytest.fixture(scope="class")
def at_work(live: Live, prometheus: Prometheus, toured: set[Query]) -> Iterator[str]:
    """One job is done and downloaded, one trains, one waits; somebody looks at them all the time.

    The id of the one that trains.
    """
    assert toured
    first = live.client.jobs.create({"dataset": "digits", "epochs": 2, **QUICK})
    assert live.client.jobs.wait(first.id).status == "succeeded"
    live.moco("download", first.id, "-o", str(live.folder / "encoder"))
    with httpx.Client(base_url=live.url) as stranger:
        assert stranger.get("/v1/jobs").status_code == 401
    long = {"dataset": "digits", "epochs": 20_000, "signals_every_steps": 5, **QUICK}
    running = live.client.jobs.create({**long, "checkpoint_every_s": 2.0})
    waiting = live.client.jobs.create(long)
    with in_background(lambda: live.client.jobs.get(running.id), every_s=0.3):
        progress = f'moco_train_steps_total{{job_id="{running.id}"}} > 100'
        wait_until(lambda: bool(prometheus.ask(progress)), 180.0, "the training")
        time.sleep(LEARNED_S)
        yield running.id
    for job in (waiting, running):
        live.client.jobs.cancel(job.id)


@pytest.mark.usefixtures("at_work")
class TestWhileItTrains:
    def test_every_panel_shows_finite_numbers(
        self, prometheus: Prometheus, toured: set[Query]
    ) -> None:
        asked = queries()
        empty = [
            f"{query}: {query.expr}"
            for query in asked
            if query not in toured and not _is_finite(prometheus, query)
        ]
        assert not empty, f"{len(empty)} of {len(asked)}"
        _tell(f"{len(asked)} queries of panels, all with finite data")

    def test_every_recorded_series_is_there(self, prometheus: Prometheus) -> None:
        found = [rule.name for rule in rules(RULES) if prometheus.is_finite(rule.name)]
        assert found == [rule.name for rule in rules(RULES)]

    def test_every_alert_can_be_judged(self, prometheus: Prometheus) -> None:
        """Each side of each condition is a finite number, so that it could fire."""
        parts = [
            (rule.name, expr) for rule in rules(ALERTS) for expr in operands(parsed(rule.expr))
        ]
        assert not [(name, expr) for name, expr in parts if not prometheus.is_finite(expr)]
        _tell(f"{len(parts)} operands of {len(rules(ALERTS))} alerts, all with finite data")

    def test_no_alert_fires_on_this_healthy_service(self, prometheus: Prometheus) -> None:
        groups = prometheus.http.get("/api/v1/rules").json()["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"] for rule in found} == {r.name for r in (*rules(RULES), *rules(ALERTS))}
        assert {rule["health"] for rule in found} == {"ok"}
        assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []

    def test_every_metric_of_the_table_was_scraped(self, prometheus: Prometheus) -> None:
        names = prometheus.http.get("/api/v1/label/__name__/values").json()["data"]
        wanted = {f"{row.name}_bucket" if row.type == "histogram" else row.name for row in METRICS}
        assert wanted <= set(names)

    def test_a_running_job_adds_a_bounded_number_of_series(
        self, prometheus: Prometheus, at_work: str
    ) -> None:
        mine = prometheus.number(f'count({{job_id="{at_work}", __name__=~"moco_.+"}})')
        _tell(f"{mine:.0f} series of one running job, {prometheus.number(SERIES):.0f} in all")
        assert 30 < mine <= 50


def test_after_fifty_jobs_the_series_are_as_many_as_before(
    live: Live, prometheus: Prometheus
) -> None:
    """Each job was seen by Prometheus, and none is any more."""
    quick = {"dataset": "digits", "epochs": 1, "evaluation": None, **QUICK}

    def run_one() -> None:
        job = live.client.jobs.create(quick)
        assert live.client.jobs.wait(job.id).status == "succeeded"

    def settled() -> float:
        wait_until(lambda: not prometheus.ask('{job_id!="", __name__=~"moco_.+"}'), 60.0, "series")
        time.sleep(3.0)
        return prometheus.number(SERIES)

    run_one()
    before = settled()
    began_s = time.monotonic()
    for _ in range(JOBS):
        run_one()
    window = f"{time.monotonic() - began_s:.0f}s"
    seen = prometheus.number(f"count(count by (job_id) (last_over_time(moco_job_info[{window}])))")
    after = settled()
    _tell(
        f"{JOBS} jobs in {window}, {seen:.0f} seen; {before:.0f} series before, {after:.0f} after"
    )
    assert seen >= JOBS
    assert after == before

"""The dashboard against the table of metrics, and against the rules of Grafana's linter."""

import pytest

from service.metrics import METRICS
from tests.support.dashboard import (
    Query,
    base_name,
    grouped_by,
    legend_labels,
    load,
    panels,
    queries,
    seen,
)

TABLE = {row.name: row for row in METRICS}
OF_TARGETS = {"job", "instance"}
NOT_ON_A_PANEL = {
    # What other panels are joined with, or what is read by eye on the page of metrics.
    "moco_artifact_downloads_total",
    "moco_auth_failures_total",
    "moco_build_info",
    "moco_job_run_duration_seconds",
    "moco_state_collect_duration_seconds",
    "moco_state_collect_errors_total",
    "moco_train_batch_size",
    "moco_train_dataset_images",
    "moco_train_key_momentum_ratio",
    "moco_train_queue_size",
    "moco_train_steps_planned",
    "moco_train_steps_total",
    "moco_train_temperature",
    "moco_worker_gpu_energy_joules_total",
    "moco_worker_gpu_info",
    "moco_worker_info",
    "moco_worker_running_job",
}


def _labels(metric: str) -> set[str]:
    row = TABLE[base_name(metric)]
    return {*row.labels, *OF_TARGETS, *({"le"} if metric.endswith("_bucket") else set())}


@pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.panel}-{query.legend}")
def test_a_query_names_only_metrics_and_labels_of_the_table(query: Query) -> None:
    found = list(seen(query.expr))
    assert found
    for metric, labels in found:
        assert base_name(metric) in TABLE
        assert labels <= _labels(metric)
    after = set.union(*(_labels(metric) for metric, _ in found))
    for labels, below in grouped_by(query.expr):
        assert labels <= set.union(*(_labels(metric) for metric in below))
        after = set(labels)
    assert legend_labels(query.legend) <= after


def test_every_metric_is_on_a_panel_or_left_out_on_purpose() -> None:
    shown = {base_name(found.metric) for query in queries() for found in seen(query.expr)}
    assert shown.isdisjoint(NOT_ON_A_PANEL)
    assert shown | NOT_ON_A_PANEL == set(TABLE)


def test_every_panel_has_title_description_unit_and_the_chosen_data_source() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_ids_and_titles_are_unique_and_panels_do_not_overlap() -> None:
    every = load()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in mine) < 24
        assert taken.isdisjoint(mine)
        taken |= mine


def test_rates_use_the_interval_that_fits_the_scrapes() -> None:
    for query in queries():
        assert ("rate(" in query.expr) == ("[$__rate_interval]" in query.expr)
        assert "[5m]" not in query.expr


def test_the_dashboard_is_provisioned_and_not_editable() -> None:
    found = load()
    assert found["uid"] == "mocoserve"
    assert found["editable"] is False
    names = [variable["name"] for variable in found["templating"]["list"]]
    assert names == ["datasource", "job_id"]
    assert "label_values(moco_job_info, job_id)" in str(found["templating"])

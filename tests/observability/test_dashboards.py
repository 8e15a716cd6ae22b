"""The dashboards against Grafana's schema, the rules of its linter, and the table of metrics."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from service.observability.dashboards.index import dashboard_files
from service.observability.dashboards.panels import GRID_COLUMNS
from service.observability.metrics import METRICS
from tests.support.observability.promql import ALERTS as ALERTS_FILE
from tests.support.observability.promql import RULES as RULES_FILE
from tests.support.observability.promql import (
    SHIPPED,
    Query,
    base_name,
    contract,
    dashboards,
    labels_of,
    legend_labels,
    panels,
    parsed,
    queries,
    recorded,
    rules,
    selectors,
    variables,
)

KNOWN = contract() | recorded()
BOARDS = pytest.mark.parametrize("board", dashboards(), ids=lambda board: board["uid"])
UIDS = ("mocoserve-api", "mocoserve-overview", "mocoserve-training", "mocoserve-workers")
UNITS = {
    *("short", "none", "percentunit", "s", "bytes", "Bps", "reqps"),
    *("bool_on_off", "string", "celsius", "watt", "joule"),
}
"""The Grafana units that we use: Grafana would show a misspelled one as a word."""


def test_there_are_four_and_their_uids_never_change() -> None:
    assert tuple(board["uid"] for board in dashboards()) == UIDS
    assert {path.stem for path in (SHIPPED / "grafana").iterdir()} == set(UIDS)


def test_the_files_are_what_the_code_says() -> None:
    for name, text in dashboard_files().items():
        assert (SHIPPED / "grafana" / name).read_text() == text, "run `make docs`"


@BOARDS
def test_a_dashboard_fits_the_schema_of_grafana(board: dict[str, Any]) -> None:
    """Grafana's own types read it and write it again: what the schema does not know gets lost."""
    assert not list(_lost(board, _through_the_schema(board)))


@BOARDS
@pytest.mark.parametrize(
    "path", ["spanNulls", "overrides", "refId", "gridPos", "legendFormat", "includeAll", "reduce"]
)
def test_the_schema_finds_a_misspelt_field(board: dict[str, Any], path: str) -> None:
    text = json.dumps(board)
    if f'"{path}' not in text:
        pytest.skip("not in this dashboard")
    wrong = json.loads(text.replace(f'"{path}', f'"x{path}'))
    try:
        found = _through_the_schema(wrong)
    except (TypeError, KeyError, AttributeError, ValueError):
        return
    assert list(_lost(wrong, found))


def _through_the_schema(board: dict[str, Any]) -> Any:  # noqa: ANN401
    register_default_plugins()
    return json.loads(JSONEncoder(sort_keys=False).encode(Dashboard.from_json(board)))


def _lost(sent: Any, back: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401
    """Places where `back` lacks what was sent, or has another value. What it adds is a default."""
    if isinstance(sent, dict) and isinstance(back, dict):
        for name, value in sent.items():
            yield from _lost(value, back.get(name, "nothing"), f"{where}/{name}")
    elif isinstance(sent, list) and isinstance(back, list) and len(sent) == len(back):
        for number, (one, other) in enumerate(zip(sent, back, strict=True)):
            yield from _lost(one, other, f"{where}/{number}")
    elif sent != back:
        yield f"{where}: {sent} is now {back}"


@BOARDS
def test_ids_titles_and_letters_are_unique(board: dict[str, Any]) -> None:
    every = board["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    for panel in panels(board):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))


@BOARDS
def test_panels_fill_the_width_and_do_not_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert taken.isdisjoint(mine)
        taken |= mine
    bottom = max(y for _, y in taken) + 1
    assert taken == {(x, y) for x in range(GRID_COLUMNS) for y in range(bottom)}


@BOARDS
def test_every_panel_has_title_description_unit_and_the_chosen_data_source(
    board: dict[str, Any],
) -> None:
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["targets"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@BOARDS
def test_thresholds_begin_everywhere_and_rise(board: dict[str, Any]) -> None:
    for panel in panels(board):
        found = panel["fieldConfig"]["defaults"].get("thresholds")
        if found:
            first, *others = (step["value"] for step in found["steps"])
            assert first is None
            assert others == sorted(others)


@BOARDS
def test_variables_are_used_and_known(board: dict[str, Any]) -> None:
    first, *chosen = board["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    assert set.union(*(variables(expr) for expr in asked)) == {one["name"] for one in chosen}
    for one in chosen:
        metric, label = one["query"]["query"].removeprefix("label_values(")[:-1].split(", ")
        assert label == one["name"]
        assert label in KNOWN[metric]


@BOARDS
def test_a_dashboard_is_not_editable_and_leads_to_the_others(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["description"].endswith(".")
    assert board["links"][0]["tags"] == board["tags"] == ["mocoserve"]


@pytest.mark.parametrize("query", queries(), ids=str)
def test_a_query_names_only_metrics_and_labels_of_the_table(query: Query) -> None:
    tree = parsed(query.expr)
    found = selectors(tree)
    assert found
    for selector in found:
        assert str(selector.name) in KNOWN
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[str(selector.name)]
    assert legend_labels(query.legend) <= labels_of(tree, KNOWN)


@pytest.mark.parametrize("query", queries(), ids=str)
def test_rates_use_the_interval_that_fits_the_scrapes(query: Query) -> None:
    """A fixed window is for sums over an hour or so, never for a rate."""
    if "rate(" in query.expr and "histogram_quantile" not in query.expr:
        assert "[$__rate_interval]" in query.expr
    for window in ("[1m]", "[5m]"):
        assert window not in query.expr or "increase(" in query.expr


def test_every_metric_is_on_a_panel() -> None:
    """A metric that is only recorded counts: a panel shows the recorded series."""
    shown = {str(s.name) for query in queries() for s in selectors(parsed(query.expr))}
    table = {row.name for row in METRICS}
    by_rules = {str(s.name) for rule in rules(RULES_FILE) for s in selectors(parsed(rule.expr))}
    assert table <= {base_name(name) for name in shown | by_rules}, "add it to a panel"
    in_alerts = {str(s.name) for rule in rules(ALERTS_FILE) for s in selectors(parsed(rule.expr))}
    assert set(recorded()) <= shown | in_alerts, "a rule that nobody reads"

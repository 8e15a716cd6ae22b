"""The panels of the dashboard, and what their queries speak of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser

REPO = Path(__file__).resolve().parents[2]
DASHBOARD = REPO / "docker" / "grafana" / "dashboards" / "mocoserve.json"


class Query(NamedTuple):
    """One query of one panel."""

    panel: str
    expr: str
    legend: str


class Seen(NamedTuple):
    """A metric in a query, and the labels that its matchers name."""

    metric: str
    labels: frozenset[str]


def load() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Every panel but the headings of rows."""
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every query of every panel, macros and variables still in it."""
    return [
        Query(panel["title"], target["expr"], target.get("legendFormat", ""))
        for panel in panels()
        for target in panel["targets"]
    ]


def filled(expr: str, *, rate_interval: str = "1m") -> str:
    """A query as Grafana sends it, with all jobs chosen."""
    return expr.replace("$__rate_interval", rate_interval).replace("$job_id", ".*")


def seen(expr: str) -> Iterator[Seen]:
    """The metrics that a query reads."""
    for node in _nodes(promql_parser.parse(filled(expr))):
        if isinstance(node, promql_parser.VectorSelector):
            labels = frozenset(matcher.name for matcher in node.matchers.matchers)
            yield Seen(str(node.name), labels)


def grouped_by(expr: str) -> Iterator[tuple[frozenset[str], list[str]]]:
    """For each aggregation of a query: its labels, and the metrics below it."""
    for node in _nodes(promql_parser.parse(filled(expr))):
        if isinstance(node, promql_parser.AggregateExpr):
            labels = node.modifier.labels if node.modifier else []
            selectors = (n for n in _nodes(node) if isinstance(n, promql_parser.VectorSelector))
            yield frozenset(labels), [str(selector.name) for selector in selectors]


def legend_labels(legend: str) -> set[str]:
    """The labels in a legend's `{{...}}`."""
    return set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))


def base_name(name: str) -> str:
    """A histogram's own name from that of one of its three series."""
    return re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", name)


def _nodes(node: Any) -> Iterator[Any]:  # noqa: ANN401  # the parser has no common node type
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "args", "param"):
        below = getattr(node, name, None)
        for child in below if isinstance(below, list) else [below]:
            if child is not None:
                yield from _nodes(child)

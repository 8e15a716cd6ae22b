"""The queries of dashboards and rules, and what they speak of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

from service.observability.metrics import METRICS

REPO = Path(__file__).resolve().parents[3]
SHIPPED = REPO / "service" / "observability"
RULES, ALERTS = SHIPPED / "prometheus" / "rules.yml", SHIPPED / "prometheus" / "alerts.yml"

OF_TARGETS = frozenset({"job", "instance"})
FOREIGN = {
    # What Prometheus itself makes, and what prometheus_client tells of every process.
    "up": OF_TARGETS,
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "process_resident_memory_bytes": OF_TARGETS,
    "process_cpu_seconds_total": OF_TARGETS,
    "process_open_fds": OF_TARGETS,
    "process_max_fds": OF_TARGETS,
}
SETS = ("and", "or", "unless")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


class Query(NamedTuple):
    """One query of one panel."""

    dashboard: str
    panel: str
    expr: str
    legend: str

    def __str__(self) -> str:
        return f"{self.dashboard.removeprefix('mocoserve-')}-{self.panel}-{self.legend}"


class Rule(NamedTuple):
    """A recording rule, or an alert."""

    name: str
    expr: str
    fields: dict[str, Any]


def dashboards() -> list[dict[str, Any]]:
    """Every dashboard as Grafana reads it."""
    return [json.loads(path.read_text()) for path in sorted((SHIPPED / "grafana").glob("*.json"))]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel but the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every query of every panel, macros and variables still in it."""
    return [
        Query(dashboard["uid"], panel["title"], target["expr"], target["legendFormat"])
        for dashboard in dashboards()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def rules(path: Path) -> list[Rule]:
    """The rules of a file, by its own order."""
    groups = yaml.safe_load(path.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [Rule(rule.get("alert") or rule["record"], rule["expr"], rule) for rule in rules]


def variables(expr: str) -> set[str]:
    """Grafana's variables in a query."""
    return set(re.findall(r"\$(?!__)(\w+)", expr))


def filled(expr: str, *, rate_interval: str = "1m") -> str:
    """A query as Grafana sends it, with everything chosen."""
    expr = expr.replace("$__rate_interval", rate_interval)
    return re.sub(r"\$(?!__)\w+", ".*", expr)


def parsed(expr: str) -> Any:  # noqa: ANN401  # the parser has no common node type
    """The syntax tree. Raises ValueError with the place of the fault."""
    return promql_parser.parse(filled(expr))


def nodes(node: Any) -> Iterator[Any]:  # noqa: ANN401
    """A node and all below it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "args", "param"):
        below = getattr(node, name, None)
        for child in below if isinstance(below, list) else [below]:
            if child is not None:
                yield from nodes(child)


def selectors(node: Any) -> list[Any]:  # noqa: ANN401
    """The places where series are read."""
    return [part for part in nodes(node) if isinstance(part, promql_parser.VectorSelector)]


def recorded() -> dict[str, frozenset[str]]:
    """Each recording rule -> the labels of its result."""
    return {rule.name: frozenset(labels_of(parsed(rule.expr))) for rule in rules(RULES)}


def contract() -> dict[str, frozenset[str]]:
    """Every name that a query may read -> its labels: the table's, and the foreign ones."""
    table: dict[str, frozenset[str]] = {}
    for row in METRICS:
        labels = frozenset(row.labels) | OF_TARGETS
        if row.type == "histogram":
            table[f"{row.name}_bucket"] = labels | {"le"}
            table |= {f"{row.name}_{part}": labels for part in ("sum", "count")}
        else:
            table[row.name] = labels
    return table | FOREIGN


def base_name(name: str) -> str:
    """A histogram's own name from that of one of its three series."""
    known = {row.name for row in METRICS if row.type == "histogram"}
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    return short if short in known else name


def labels_of(node: Any, known: dict[str, frozenset[str]] | None = None) -> set[str]:  # noqa: ANN401
    """The labels that a result can have, from the syntax alone."""
    known = known or contract()
    if isinstance(node, promql_parser.VectorSelector):
        return set(known[str(node.name)])
    if isinstance(node, promql_parser.AggregateExpr):
        below = labels_of(node.expr, known)
        if node.modifier is None:
            return set()
        named = set(node.modifier.labels)
        return below - named if "Without" in str(node.modifier.type) else named & below
    if isinstance(node, promql_parser.BinaryExpr):
        return _of_both(node, known)
    labels = set().union(*(labels_of(child, known) for child in _children(node)))
    return labels - {"le"} if _called(node) == "histogram_quantile" else labels


def operands(node: Any) -> Iterator[str]:  # noqa: ANN401
    """The parts of a condition that must have a value for it to be judged at all."""
    if isinstance(node, promql_parser.ParenExpr):
        yield from operands(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr) and _operator(node) in (*SETS, *COMPARISONS):
        yield from operands(node.lhs)
        yield from operands(node.rhs)
    elif not isinstance(node, promql_parser.NumberLiteral):
        yield node.prettify()


def _of_both(node: Any, known: dict[str, frozenset[str]]) -> set[str]:  # noqa: ANN401
    left, right = labels_of(node.lhs, known), labels_of(node.rhs, known)
    modifier = node.modifier
    if _operator(node) == "or":
        return left | right
    grouped = re.search(r"group_left", node.prettify()) if modifier else None
    return left | right if grouped else left or right


def _operator(node: Any) -> str:  # noqa: ANN401
    return str(node.op)


def _called(node: Any) -> str:  # noqa: ANN401
    return str(node.func.name) if isinstance(node, promql_parser.Call) else ""


def _children(node: Any) -> list[Any]:  # noqa: ANN401
    names = ("expr", "vector_selector", "args")
    children: list[Any] = []
    for name in names:
        below = getattr(node, name, None)
        children += below if isinstance(below, list) else [below] if below is not None else []
    return children


def legend_labels(legend: str) -> set[str]:
    """The labels in a legend's, or a text's, `{{...}}`."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", legend))

"""Panels and dashboards as Grafana reads them, laid out row by row."""

from dataclasses import dataclass, replace
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "bargauge", "table"]
Steps = tuple[tuple[float | None, str], ...]

SCHEMA_VERSION = 39
GRID_COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PLAIN: Steps = ((None, "text"),)
HIDDEN = ("Time", "Value", "__name__", "instance")
"""Columns of a table that say nothing of the job or the worker."""
RENAMED = {"job": "target"}
"""Prometheus calls a kind of target a job; here a job is something else."""


@dataclass(frozen=True)
class Query:
    """Prometheus expression and the legend of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `steps` are thresholds: (from this value on, this colour), the first from None."""

    kind: Kind
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    columns: int
    """Width, of 24."""
    low: float | None = None
    high: float | None = None
    steps: Steps = PLAIN
    stacked: bool = False
    dashed: str = ""
    """Regular expression of the legends that are drawn as a dashed line."""

    def as_json(self, number: int, *, x: int, y: int, height: int) -> Json:
        """The panel with its id and place."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"h": height, "w": self.columns, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": OPTIONS[self.kind],
            "targets": [self._target(i, query) for i, query in enumerate(self.queries)],
            **({"transformations": [_columns_left_out()]} if self.kind == "table" else {}),
        }

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit}
        if self.low is not None:
            defaults["min"] = self.low
        if self.high is not None:
            defaults["max"] = self.high
        if self.kind != "table":
            steps = [{"value": value, "color": color} for value, color in self.steps]
            defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        if self.kind == "timeseries":
            zones = "area" if self.steps != PLAIN else "off"
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 20 if self.stacked else 0,
                "showPoints": "never",
                "spanNulls": True,
                "stacking": {"mode": "normal" if self.stacked else "none"},
                "thresholdsStyle": {"mode": zones},
            }
        elif self.kind != "table":
            defaults["color"] = {"mode": "thresholds"}
        return defaults

    def _overrides(self) -> list[Json]:
        if not self.dashed:
            return []
        style = {"fill": "dash", "dash": [8, 8]}
        return [
            {
                "matcher": {"id": "byRegexp", "options": self.dashed},
                "properties": [{"id": "custom.lineStyle", "value": style}],
            }
        ]

    def _target(self, index: int, query: Query) -> Json:
        once = self.kind != "timeseries"
        return {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": once,
            "range": not once,
            **({"format": "table"} if self.kind == "table" else {}),
        }


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[Kind, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _LAST,
        "orientation": "auto",
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    },
    "bargauge": {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic"},
    "table": {"showHeader": True},
}


def _columns_left_out() -> Json:
    hidden = dict.fromkeys(HIDDEN, True)
    return {"id": "organize", "options": {"excludeByName": hidden, "renameByName": RENAMED}}


@dataclass(frozen=True)
class Row:
    """Panels side by side; their columns sum to 24."""

    height: int
    panels: tuple[Panel, ...]


def filled_row(height: int, panels: tuple[Panel, ...]) -> Row:
    """Return a row of panels that share its width, whatever their number; the first are wider."""
    width, rest = divmod(GRID_COLUMNS, len(panels))
    return Row(
        height,
        tuple(
            replace(panel, columns=width + (number < rest)) for number, panel in enumerate(panels)
        ),
    )


@dataclass(frozen=True)
class Section:
    """A heading, and the rows below it."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the dashboard: the values of `label` that `metric` has."""

    name: str
    title: str
    metric: str

    def as_json(self) -> Json:
        """All values are chosen at first."""
        return {
            "name": self.name,
            "label": self.title,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": f"label_values({self.metric}, {self.name})", "refId": self.name},
            "refresh": 2,
            "sort": 1,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "hide": 0,
            "regex": "",
            "current": {"text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. Its `uid` is in people's bookmarks: it never changes."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]

    def as_json(self) -> Json:
        """Return the dashboard as JSON. It is read-only in Grafana: users copy it to change it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["mocoserve"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [_LINK],
            "templating": {
                "list": [_DATA_SOURCE, *(variable.as_json() for variable in self.variables)]
            },
            "panels": self._panels(),
        }

    def _panels(self) -> list[Json]:
        made: list[Json] = []
        y = 0
        for section in self.sections:
            made.append(_heading(len(made) + 1, section.title, y))
            y += 1
            for row in section.rows:
                x = 0
                for panel in row.panels:
                    made.append(panel.as_json(len(made) + 1, x=x, y=y, height=row.height))
                    x += panel.columns
                y += row.height
        return made


_LINK = {
    "type": "dashboards",
    "title": "mocoserve",
    "tags": ["mocoserve"],
    "asDropdown": False,
    "includeVars": False,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
    "tooltip": "",
}
_DATA_SOURCE = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "hide": 0,
    "includeAll": False,
    "multi": False,
    "refresh": 1,
    "regex": "",
    "current": {},
}


def _heading(number: int, title: str, y: int) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y},
        "panels": [],
    }


def curve(title: str, description: str, unit: str, *queries: Query, **more: Any) -> Panel:  # noqa: ANN401
    """Values over time. `more` are fields of `Panel`; the default width is a third."""
    return _panel("timeseries", title, description, unit, queries, {"columns": 8, **more})


def stat(title: str, description: str, unit: str, *queries: Query, **more: Any) -> Panel:  # noqa: ANN401
    """The newest values, large."""
    return _panel("stat", title, description, unit, queries, {"columns": 4, **more})


def bars(title: str, description: str, unit: str, *queries: Query, **more: Any) -> Panel:  # noqa: ANN401
    """The newest values as bars."""
    return _panel("bargauge", title, description, unit, queries, {"columns": 8, **more})


def table(title: str, description: str, *queries: Query, **more: Any) -> Panel:  # noqa: ANN401
    """Labels, one series a row."""
    return _panel("table", title, description, "string", queries, {"columns": 12, **more})


def _panel(
    kind: Kind, title: str, description: str, unit: str, queries: tuple[Query, ...], more: Json
) -> Panel:
    fields: Json = {"title": title, "description": description, "unit": unit, "queries": queries}
    return Panel(kind=kind, **fields, **more)

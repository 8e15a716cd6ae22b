"""Panels for what single methods declare: their own signals, and their settings."""

import re
from collections.abc import Callable

from service.observability.dashboards.panels import (
    Panel,
    Query,
    Row,
    curve,
    filled_row,
    stat,
)
from trainer.methods.registry import method_names, part_of
from trainer.schema.signals import Signal

UNITS = {"ratio": "percentunit", "seconds": "s", "bytes": "bytes"}
"""Unit of a signal -> Grafana's; all others are plain numbers."""
PER_ROW = 4
"""Curves side by side."""


def method_rows(of_job: Callable[[str], Query]) -> tuple[Row, ...]:
    """Return rows with one curve for each metric of a signal that methods declare."""
    owners: dict[str, list[str]] = {}
    signals: dict[str, Signal] = {}
    for name in method_names():
        for signal in _signals(name).values():
            if signal.metric:
                owners.setdefault(signal.metric, []).append(name)
                signals[signal.metric] = signal
    declared = [(signals[metric], names) for metric, names in owners.items()]
    parts = [declared[first : first + PER_ROW] for first in range(0, len(declared), PER_ROW)]
    return tuple(filled_row(7, tuple(_curve(*each, of_job) for each in part)) for part in parts)


def _curve(signal: Signal, names: list[str], of_job: Callable[[str], Query]) -> Panel:
    return curve(
        _title(signal.meaning),
        _text(signal.meaning, *names),
        UNITS.get(signal.unit, "short"),
        of_job(signal.metric),
        low=0,
    )


def method_settings(of_job: Callable[[str], Query]) -> tuple[Panel, ...]:
    """Return one panel for each setting of a method that is a metric."""
    owners: dict[str, list[str]] = {}
    meanings: dict[str, str] = {}
    for name in method_names():
        for metric, setting in part_of(name, "spec").SETTINGS.items():
            owners.setdefault(metric, []).append(name)
            meanings[metric] = setting.meaning
    return tuple(
        stat(
            _title(meanings[metric]),
            _text(meanings[metric], *names),
            "none",
            of_job(metric),
            columns=3,
        )
        for metric, names in owners.items()
    )


def _signals(method: str) -> dict[str, Signal]:
    signals: dict[str, Signal] = part_of(method, "spec").SIGNALS
    return signals


def _title(meaning: str) -> str:
    """Return a meaning up to its first comma or semicolon, as a title."""
    title = re.split("[,;]", meaning)[0]
    return title[0].upper() + title[1:]


def _text(meaning: str, *methods: str) -> str:
    """Return a meaning as a sentence, with the methods that it belongs to if not to all."""
    titles = " and ".join(part_of(method, "spec").TITLE for method in methods)
    owners = "" if methods == method_names() else f" {titles} only."
    return f"{meaning[0].upper()}{meaning[1:]}.{owners}"

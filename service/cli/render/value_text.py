"""Numbers as text for people. Quick to import."""

import time
from typing import Any

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def bytes_text(count: float | None) -> str:
    """Format bytes: `1536` -> `1.5 KiB`."""
    if count is None:
        return "-"
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def duration_text(seconds: float | None) -> str:
    """Format seconds: `83` -> `1:23`, `5025` -> `1:23:45`; tenths below ten seconds."""
    if seconds is None or seconds < 0:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ago_text(moment_s: float | None, *, now_s: float | None = None) -> str:
    """Format a wall-clock time as its age: `3 min ago`."""
    if moment_s is None:
        return "-"
    gone = max(0.0, (time.time() if now_s is None else now_s) - moment_s)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if gone >= size:
            return f"{gone / size:.0f} {unit} ago"
    return f"{gone:.0f} s ago"


def count_text(count: float | None) -> str:
    """Format a count: `1234567` -> `1,234,567`."""
    return "-" if count is None else f"{count:,.0f}"


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested objects as dotted names: `{"a": {"b": 1}}` -> `{"a.b": 1}`.

    An object in a list is named by its place: `{"a": [{"b": 1}]}` -> `{"a.0.b": 1}`.
    """
    leaves: dict[str, Any] = {}
    for name, item in value.items():
        inner = item
        if isinstance(item, list) and item and isinstance(item[0], dict):
            inner = {str(index): each for index, each in enumerate(item)}
        if isinstance(inner, dict) and inner:
            leaves |= flat(inner, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = item
    return leaves

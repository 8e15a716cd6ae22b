"""View of a dataset as names and values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.cli.render.value_text import bytes_text, count_text

if TYPE_CHECKING:
    from mocoserve.models import Dataset, DataWarning, SideHistogram, ValueMapping

KEPT = {
    "truncated_kept": "truncated",
    "pages_left_out": "with extra pages skipped",
    "bad_cell": "with an invalid value in the table",
    "bad_mask": "without a usable mask",
}
"""Reasons for files that were kept in part, in words."""
RULES = {
    "identity": "unchanged",
    "auto": "percentiles 0.1 and 99.9 of all pixels",
    "full": "smallest and largest of all pixels",
    "stated": "as given",
}
"""Source of the value range."""
LIMITS = frozenset(
    {"pixels_max", "file_bytes_max", "total_bytes_max", "entries_max", "ratio_max", "seconds_max"}
)
BAR_LETTERS = 30
"""Width of the bar of the largest bin."""


def facts_of(dataset: "Dataset") -> list[tuple[str, object]]:
    """Return the facts in the order in which they are shown; None where there is none."""
    facts, reason = dataset.facts, dataset.status_reason
    shown: list[tuple[str, object]] = [
        ("id", dataset.id),
        ("name", dataset.name),
        ("status", dataset.status),
        ("reason", (reason.message or reason.code or None) if reason else None),
        ("size", bytes_text(dataset.size_bytes) if dataset.size_bytes else None),
        ("on disk", bytes_text(dataset.stored_bytes) if dataset.stored_bytes else None),
        ("version", _version(dataset)),
        ("upload", _upload(dataset) if dataset.status == "received" else None),
    ]
    if facts:
        same = f"{facts.side_px_median} px"
        span = f"{facts.side_px_min} to {facts.side_px_max} px, median {same}"
        shown += [
            ("images", count_text(facts.rows)),
            ("classes", f"{len(facts.labels)}" if facts.labels else "none (no labels)"),
            ("splits", splits_text(facts.splits) if facts.splits else None),
            ("masks", count_text(facts.masked_rows) if facts.masked_rows else None),
            ("channels", f"{facts.channels}"),
            ("values", values_text(facts.values) if facts.values else None),
            (
                "stored size",
                same if facts.same_size and facts.side_px_min == facts.side_px_max else span,
            ),
            ("image sizes", _lines(facts.sides_sent)),
            ("rejected files", count_text(facts.bad_files)),
            ("duplicates", count_text(facts.duplicates)),
            ("stored as", f"{dataset.store_as}, {bytes_text(facts.size_bytes)}"),
            ("truncated", f"{facts.truncated_kept} kept" if facts.truncated_kept else None),
        ]
        shown += [("warning", warning_text(warning)) for warning in facts.warnings]
    if dataset.options:
        shown.append(("options", options_text(dataset.options)))
    return shown


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the counts of a report: rejected files, then those that were kept in part."""
    words = [f"{count} {reason}" for reason, count in sorted(counts.items()) if reason not in KEPT]
    kept = [f"{counts[reason]} {words}" for reason, words in KEPT.items() if reason in counts]
    rejected = f"Rejected: {', '.join(words) or 'none'}."
    return f"{rejected} Partly used: {', '.join(kept)}." if kept else rejected


def splits_text(splits: Mapping[str, int]) -> str:
    """Return the rows of each split."""
    return ", ".join(f"{name} {count_text(rows)}" for name, rows in splits.items())


def values_text(values: "ValueMapping") -> str:
    """Return the values that are mapped to black and white, and the rule."""
    return (
        f"{values.source_dtype}: {values.low:.6g} is black, {values.high:.6g} is white "
        f"({RULES.get(values.rule, values.rule)})"
    )


def warning_text(warning: "DataWarning") -> str:
    """Return a warning on one line: the finding, then what to do."""
    return f"{warning.message.rstrip('.')}. {warning.hint}".rstrip()


def options_text(options: Mapping[str, object]) -> str:
    """Return the options of an ingest that affect rows, without the limits."""
    shown = {name: value for name, value in options.items() if name not in LIMITS}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)


def _version(dataset: "Dataset") -> str | None:
    """Return why the name does not refer to this version."""
    if dataset.is_current:
        return None
    if dataset.status in ("received", "preparing"):
        return "new: takes over the name when it is ready"
    return "not current: refer to it by its id"


def _upload(dataset: "Dataset") -> str:
    arrived = bytes_text(dataset.received_bytes or 0)
    of = f" of {bytes_text(dataset.size_bytes)}" if dataset.size_bytes else ""
    if dataset.is_uploading:
        return f"in progress, {arrived}{of} received"
    if not dataset.received_bytes:
        return "not started"
    return f"interrupted, {arrived}{of} received; add the same path again to continue"


def _lines(sides: "SideHistogram | None") -> tuple[str, ...] | None:
    return tuple(sides_text(sides).split("\n")) if sides else None


def sides_text(sides: "SideHistogram") -> str:
    """Return a line for each bin of shorter sides: its bounds, its images, and a bar."""
    most = max(sides.rows)
    bounds = [
        f"{low:,} to {high - 1:,} px" if high - low > 1 else f"{low:,} px"
        for low, high in zip(sides.edges_px, sides.edges_px[1:], strict=False)
    ]
    counts = [count_text(rows) for rows in sides.rows]
    wide, high = (max(map(len, texts)) for texts in (bounds, counts))
    bars = ["█" * (-(-BAR_LETTERS * rows // most)) for rows in sides.rows]
    return "\n".join(
        f"{bound:>{wide}}  {count:>{high}}  {bar}".rstrip()
        for bound, count, bar in zip(bounds, counts, bars, strict=True)
    )

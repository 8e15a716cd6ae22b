"""Report of an ingest: which files are not among the rows, one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from service.curves.reader import open_newest, read_lines

REPORTS = ("pack/report.jsonl", "report.jsonl", "pack.tmp/report.jsonl")
"""Paths of a report: in the pack, of an ingest that made no pack, and while an ingest runs."""


def report_entries(data_dir: Path, dataset_id: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of the newest report of a dataset; none if it has no report.

    The file is opened before this returns. Lines that are no JSON object are skipped.
    """
    newest = open_newest(data_dir, f"datasets/{dataset_id}", *REPORTS)
    return iter(()) if newest is None else _entries(newest[1])


def _entries(file: BinaryIO) -> Iterator[dict[str, Any]]:
    with file:
        for line in read_lines(file):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry

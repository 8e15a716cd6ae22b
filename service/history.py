"""What an attempt left on the disk, read without loading it whole: its curves and its log."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from service.files import open_inside

Point = tuple[int, float]
"""Step and value."""
BLOCK_BYTES = 64 * 1024
TAIL_BYTES_MAX = 4 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024


def attempts_of(data_dir: Path, folder: str) -> list[int]:
    """Numbers of the attempts that left a folder, newest first."""
    try:
        with os.scandir(data_dir / folder / "attempts") as entries:
            found = [
                int(entry.name)
                for entry in entries
                if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
            ]
    except OSError:
        return []
    return sorted(found, reverse=True)


REPORTS = ("pack/report.jsonl", "report.jsonl", "pack.tmp/report.jsonl")
"""Where an ingest keeps its report: in the pack, where it made no pack, and while it works."""


def open_report(data_dir: Path, folder: str) -> BinaryIO | None:
    """Open the report of the newest ingest that has one."""
    for attempt in attempts_of(data_dir, folder):
        for name in REPORTS:
            with suppress(FileNotFoundError):
                return open_inside(data_dir, f"{folder}/attempts/{attempt}/{name}")
    return None


def open_newest(data_dir: Path, folder: str, name: str) -> tuple[int, BinaryIO] | None:
    """The file `name` of the newest attempt that has one, with the attempt's number."""
    for attempt in attempts_of(data_dir, folder):
        try:
            return attempt, open_inside(data_dir, f"{folder}/attempts/{attempt}/{name}")
        except FileNotFoundError:
            continue
    return None


def curves(lines: Iterable[bytes], names: frozenset[str] | None) -> dict[str, list[Point]]:
    """Signal -> points in the order of the lines of a `metrics.jsonl`.

    Lines that are no such reading are passed over: the last one may be half-written.
    """
    series: defaultdict[str, list[Point]] = defaultdict(list)
    for line in lines:
        try:
            reading = json.loads(line)
            step = int(reading["step"])
            pairs = list(reading.items())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        for name, value in pairs:
            if name in ("step", "epoch") or (names is not None and name not in names):
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                series[name].append((step, float(value)))
    return dict(series)


def thin(points: list[Point], points_max: int) -> list[Point]:
    """At most `points_max` >= 2 of `points`: first, last, and the extremes of equal buckets.

    Every peak of the curve stays to be seen, which taking each n-th point would lose.
    """
    if len(points) <= points_max:
        return points
    inner = points[1:-1]
    buckets = (points_max - 2) // 2
    kept = [points[0]]
    for bucket in range(buckets):
        start = bucket * len(inner) // buckets
        end = (bucket + 1) * len(inner) // buckets
        part = range(start, end)
        low = min(part, key=lambda place: inner[place][1])
        high = max(part, key=lambda place: inner[place][1])
        kept.extend(inner[place] for place in sorted({low, high}))
    return [*kept, points[-1]]


def tail(file: BinaryIO, lines_max: int) -> list[str]:
    """The last `lines_max` lines, read from the end; at most the last 4 MiB are looked at."""
    place = size = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []
    breaks = 0
    while place > 0 and breaks <= lines_max and size - place < TAIL_BYTES_MAX:
        start = max(0, place - BLOCK_BYTES)
        file.seek(start)
        block = file.read(place - start)
        breaks += block.count(b"\n")
        blocks.append(block)
        place = start
    text = b"".join(reversed(blocks)).decode("utf-8", errors="replace")
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines[-lines_max:]


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file, each cut at 1 MiB so that none can fill the memory."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line

"""Reading the curves and the log of an attempt without loading whole files."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from service.files.safe_open import open_inside

Point = tuple[int, float]
"""Step and value."""
Reading = dict[str, float]
"""One line of a `metrics.jsonl`: step, epoch and signals."""
NOT_SIGNALS = frozenset({"step", "epoch"})
BLOCK_BYTES = 64 * 1024
TAIL_BYTES_MAX = 4 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024


def attempts_of(data_dir: Path, folder: str) -> list[int]:
    """Return the numbers of the attempts that left a folder, newest first."""
    try:
        with os.scandir(data_dir / folder / "attempts") as entries:
            numbers = [
                int(entry.name)
                for entry in entries
                if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
            ]
    except OSError:
        return []
    return sorted(numbers, reverse=True)


def open_newest(data_dir: Path, folder: str, *names: str) -> tuple[int, BinaryIO] | None:
    """Open the first of `names` that is there in the newest attempt that has one.

    Return the number of the attempt and the file.
    """
    for attempt in attempts_of(data_dir, folder):
        for name in names:
            with suppress(FileNotFoundError):
                return attempt, open_inside(data_dir, f"{folder}/attempts/{attempt}/{name}")
    return None


def parse_readings(lines: bytes) -> list[Reading]:
    """Parse whole lines of a `metrics.jsonl`, all at once if all are good.

    Lines that are no reading are skipped: the last one may be half-written.
    """
    whole = lines.strip()
    if not whole:
        return []
    try:
        rows = json.loads(b"[" + whole.replace(b"\n", b",") + b"]")
    except (ValueError, RecursionError):
        rows = [row for line in whole.split(b"\n") for row in _parsed_alone(line)]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]


def signals_of(reading: Reading) -> Reading:
    """Return the finite signals of one reading."""
    return {
        name: float(value)
        for name, value in reading.items()
        if name not in NOT_SIGNALS and _is_number(value)
    }


def columns(readings: list[Reading]) -> dict[str, tuple[list[int], list[float]]]:
    """Return signal -> its steps and its finite values, for signals that have any.

    Column by column: a loop over single values would be many times slower.
    """
    names = dict.fromkeys(name for reading in readings for name in reading)
    both = {name: _column(readings, name) for name in names if name not in NOT_SIGNALS}
    return {name: column for name, column in both.items() if column[0]}


def curves(blocks: Iterable[bytes], names: frozenset[str] | None) -> dict[str, list[Point]]:
    """Return signal -> points in file order. Each block consists of whole lines."""
    series: defaultdict[str, list[Point]] = defaultdict(list)
    for block in blocks:
        for name, (steps, values) in columns(parse_readings(block)).items():
            if names is None or name in names:
                series[name] += zip(steps, values, strict=True)
    return dict(series)


def _parsed_alone(line: bytes) -> list[object]:
    try:
        return [json.loads(line)]
    except (ValueError, RecursionError):
        return []


def _column(readings: list[Reading], name: str) -> tuple[list[int], list[float]]:
    pairs = [(int(reading["step"]), reading[name]) for reading in readings if name in reading]
    try:
        is_plain = math.isfinite(sum(value for _, value in pairs))
    except TypeError:
        is_plain = False
    if not is_plain:
        pairs = [(step, value) for step, value in pairs if _is_number(value)]
    return [step for step, _ in pairs], [float(value) for _, value in pairs]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def downsample(points: list[Point], points_max: int) -> list[Point]:
    """Return at most `points_max` >= 2 of `points`: first, last, and the extremes of equal buckets.

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
        low = min(part, key=lambda index: inner[index][1])
        high = max(part, key=lambda index: inner[index][1])
        kept.extend(inner[index] for index in sorted({low, high}))
    return [*kept, points[-1]]


def tail(file: BinaryIO, lines_max: int) -> list[str]:
    """Return the last `lines_max` lines, reading at most 4 MiB from the end."""
    offset = size = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []
    breaks = 0
    while offset > 0 and breaks <= lines_max and size - offset < TAIL_BYTES_MAX:
        start = max(0, offset - BLOCK_BYTES)
        file.seek(start)
        block = file.read(offset - start)
        breaks += block.count(b"\n")
        blocks.append(block)
        offset = start
    text = b"".join(reversed(blocks)).decode("utf-8", errors="replace")
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines[-lines_max:]


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, each cut at 1 MiB so that none can fill the memory."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line

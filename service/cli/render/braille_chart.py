"""Line chart in braille characters, 2 x 4 dots each."""

from collections.abc import Mapping
from itertools import pairwise

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of the dot in each of four rows, left and right (Unicode block U+2800)."""
_LABEL = 8
"""Columns left of the axis."""


def draw(
    curve: Mapping[int, float], *, columns: int, rows: int, mark: float | None = None
) -> list[str]:
    """Return the lines of a chart of `curve`, step -> value, in `columns` x `rows` characters.

    `mark` is a level drawn as a dotted line. Nothing is drawn of fewer than two points, or where
    there is no room.
    """
    points = sorted(curve.items())
    across, down = 2 * (columns - _LABEL - 2), 4 * rows
    if len(points) < 2 or across < 8 or rows < 1:
        return []
    levels = [value for _, value in points] + ([] if mark is None else [mark])
    low, high = min(levels), max(levels)
    span = (high - low) or 1.0

    def height(value: float) -> int:
        return round((high - value) / span * (down - 1))

    dots: set[tuple[int, int]] = set()
    if mark is not None:
        dots |= {(x, height(mark)) for x in range(0, across, 4)}
    dots |= _stroke([height(value) for value in _columns(points, across)])
    labels = {0: f"{high:.4g}", rows - 1: f"{low:.4g}"} if rows > 1 else {0: f"{high:.4g}"}
    lines = [
        f"{labels.get(row, ''):>{_LABEL}} │{_letters(dots, row, across // 2)}"
        for row in range(rows)
    ]
    first, last = str(points[0][0]), f"step {points[-1][0]}"
    return [*lines, f"{'':>{_LABEL}} └{first}{last:>{across // 2 - len(first)}}"]


def _columns(points: list[tuple[int, float]], across: int) -> list[float]:
    """Return the mean value in each column of dots, interpolated between columns with points."""
    first, last = points[0][0], points[-1][0]
    there: dict[int, list[float]] = {}
    for step, value in points:
        there.setdefault(round((step - first) / (last - first) * (across - 1)), []).append(value)
    means = [(x, sum(values) / len(values)) for x, values in sorted(there.items())]
    values = [means[0][1]]
    for (left, low), (right, high) in pairwise(means):
        width = right - left
        values += [low + (high - low) * (x + 1) / width for x in range(width)]
    return values


def _stroke(heights: list[int]) -> set[tuple[int, int]]:
    """Return the dots of a gapless line through these heights, one a column."""
    dots = set()
    before = heights[0]
    for x, y in enumerate(heights):
        dots |= {(x, between) for between in range(min(before, y) + 1, max(before, y))}
        dots.add((x, y))
        before = y
    return dots


def _letters(dots: set[tuple[int, int]], row: int, columns: int) -> str:
    return "".join(
        chr(
            0x2800
            + sum(
                bit
                for down, bits in enumerate(_DOTS)
                for across, bit in enumerate(bits)
                if (2 * column + across, 4 * row + down) in dots
            )
        )
        for column in range(columns)
    ).rstrip("\u2800")

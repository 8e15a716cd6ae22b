"""Values of a dataset that are read as 0 and as 1, and what follows: moments and warnings."""

from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import Pack
from trainer.data.rows import BadRow, Kind
from trainer.data.spec import window_of
from trainer.modalities.image.augment.spec import DATASET
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.packed import counts_of, image_of
from trainer.modalities.image.wide_values import STEPS, Extent, kept_in_16_bits
from trainer.schema.events import DatasetFacts, DataWarning, ValueMapping

Counts = NDArray[np.int64]
"""Pixel counts per channel and stored value, [channels, 256 or 65536]."""
KINDS: dict[str, Kind] = {
    "bool": "uint8",
    "uint8": "uint8",
    "uint16": "uint16",
    "int16": "int16",
    "int8": "int16",
}
"""Value types that a pack stores directly; all others are stored as wide ones."""
PLAIN = ValueMapping(low=0.0, high=255.0)
"""Mapping of a plain 8-bit dataset."""
PERCENTILES = (0.1, 99.9)
"""Percentiles that `auto` maps to black and white, because extremes may be outliers."""
LITTLE_RANGE = 0.25
"""Used fraction of the 16-bit range below which a warning is given."""
NARROW = 0.1
"""Fraction of the range that holds half of all pixels, below which contrast counts as narrow."""
WIDE_WINDOW = 2.0
"""Width of a suggested window, in interquartile ranges around the median."""


def mapping_of(counts: Counts, mapping: ValueMapping, *, requested: str) -> ValueMapping:
    """Fill in the values that are mapped to 0 and 1. `requested`: auto, full or LO:HI."""
    total = counts.sum(axis=0)
    reached = np.flatnonzero(total)
    first, last = int(reached[0]), int(reached[-1])

    def source(stored: float) -> float:
        return stored * mapping.scale + mapping.offset

    extremes = {"value_min": source(first), "value_max": source(last)}
    window = window_of(requested)
    if window is not None:
        return _with(mapping, rule="stated", low=window[0], high=window[1], **extremes)
    if requested == "auto" and mapping.source_dtype == "uint8":
        return _with(mapping, rule="identity", low=0.0, high=255.0, **extremes)
    bounds = (float(first), float(last))
    if requested == "auto":
        percentiles = (percentile(total, PERCENTILES[0]), percentile(total, PERCENTILES[1]))
        bounds = percentiles if percentiles[0] < percentiles[1] else bounds
    low, high = bounds if bounds[0] < bounds[1] else (bounds[0], bounds[0] + 1.0)
    return _with(mapping, rule=requested, low=source(low), high=source(high), **extremes)


def _with(mapping: ValueMapping, **changes: float | str) -> ValueMapping:
    return mapping.model_copy(update=changes)


def percentile(total: NDArray[np.int64], q: float) -> float:
    """Return numpy.percentile of the values that `total` counts, interpolated linearly."""
    ends = np.cumsum(total)
    position = (int(ends[-1]) - 1) * (q / 100.0)
    below = floor(position)
    low, high = (int(np.searchsorted(ends, rank, side="right")) for rank in (below, below + 1))
    high = min(high, int(np.flatnonzero(total)[-1]))
    return low + (high - low) * (position - below)


def moments(
    counts: Counts, *, low: float, high: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel of stored values with `low` mapped to 0 and `high` to 1."""
    levels = counts.shape[1]
    if levels == 256 and (low, high) == (0.0, 255.0):
        return _plain_moments(counts)
    scaled = ((np.arange(levels) - low) / (high - low)).clip(0.0, 1.0)
    pixels = counts.sum(axis=1)
    means = (counts @ scaled) / pixels
    variances = ((scaled - means[:, None]) ** 2 * counts).sum(axis=1) / pixels
    return tuple(means.tolist()), tuple(np.sqrt(variances).tolist())


def _plain_moments(counts: Counts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute moments from integers, so that the order of summation does not matter."""
    values = np.arange(256, dtype=np.int64)
    pixels = [int(count) for count in counts.sum(axis=1)]
    sums = [int(total) for total in counts @ values]
    squares = [int(total) for total in counts @ values**2]
    means = tuple(total / count / 255.0 for total, count in zip(sums, pixels, strict=True))
    stds = tuple(
        ((square * count - total**2) / count**2) ** 0.5 / 255.0
        for square, total, count in zip(squares, sums, pixels, strict=True)
    )
    return means, stds


def stored(mapping: ValueMapping, window: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the stored values of two source values, by default of the range's bounds."""
    low, high = window or (mapping.low, mapping.high)
    return (low - mapping.offset) / mapping.scale, (high - mapping.offset) / mapping.scale


def bounds_of(facts: DatasetFacts, seen: ValueMapping | None = None) -> tuple[float, float]:
    """Return the stored values that are mapped to 0 and 1: the pack's own, or those of `seen`."""
    mapping = facts.values or PLAIN
    return stored(mapping) if seen is None else stored(mapping, (seen.low, seen.high))


def seen_in(pack: Pack, window: str) -> DatasetFacts:
    """Return the facts of a pack in a job's value range: its own (`dataset`) or LO:HI."""
    bounds = None if window == DATASET else window_of(window)
    if bounds is None:
        return pack.facts
    mapping = pack.facts.values or PLAIN
    low, high = stored(mapping, bounds)
    mean, std = moments(counts_of(pack), low=low, high=high)
    values = mapping.model_copy(update={"rule": "stated", "low": bounds[0], "high": bounds[1]})
    return pack.facts.model_copy(update={"values": values, "mean": mean, "std": std})


def open_seen(path: Path, window: str) -> Pack:
    """Open a pack with a job's value range. Raises the errors of `Pack.open`."""
    pack = Pack.open(path)
    pack.facts = seen_in(pack, window)
    return pack


def stored_row(row: Decoded, mapping: ValueMapping) -> NDArray[Any]:
    """Return a file's values as a pack keeps them, [H, W, C]. Raises BadRow if of another kind."""
    if row.kind == "wide":
        extent = Extent(mapping.offset, mapping.offset + STEPS * mapping.scale)
        row = kept_in_16_bits(row, extent)
    kind = KINDS.get(mapping.source_dtype, "wide")
    if row.kind != kind:
        detail = f"values of {row.dtype}; the dataset's files hold {mapping.source_dtype}"
        raise BadRow("other_depth", detail)
    dtype = np.uint8 if row.kind == "uint8" else np.dtype("<u2")
    return np.frombuffer(row.pixels, dtype).reshape(row.height, row.width, row.channels)


def row_picture(pack: Pack, row: int) -> NDArray[np.uint8]:
    """Return a row for display: u8 [height, width, 3], in the pack's value range."""
    return pictured(image_of(pack, row), bounds_of(pack.facts))


def pictured(image: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Return [H, W, C] as u8 [H, W, 3]: gray of one or two channels, the first three of more."""
    if image.dtype != np.uint8 or bounds != (0.0, 255.0):
        low, high = bounds
        scaled = ((image.astype(np.float64) - low) / (high - low)).clip(0.0, 1.0)
        image = np.rint(scaled * 255.0).astype(np.uint8)
    if image.shape[2] < 3:
        return np.repeat(image[:, :, :1], 3, axis=2)
    return image[:, :, :3]


def value_warnings(counts: Counts, mapping: ValueMapping) -> list[DataWarning]:
    """Return warnings about values that use their range badly."""
    return [*_little_range(mapping), *_narrow_content(counts, mapping)]


def _little_range(mapping: ValueMapping) -> list[DataWarning]:
    is_deep = mapping.source_dtype in {"uint16", "int16"}
    if not is_deep or mapping.value_max is None or mapping.rule == "stated":
        return []
    top = 65_535 if mapping.source_dtype == "uint16" else 32_767
    if mapping.value_max > LITTLE_RANGE * top:
        return []
    seen = f"{number(mapping.low)} is seen as black, {number(mapping.high)} as white"
    message = f"values reach {number(mapping.value_max)} of {top}."
    hint = f"Here {seen}. If that is not what matters, state a range (--range LO:HI)."
    return [DataWarning(code="little_range", message=message, hint=hint)]


def _narrow_content(counts: Counts, mapping: ValueMapping) -> list[DataWarning]:
    """Return a warning if half of all pixels lie within a tenth of the range."""
    total = counts.sum(axis=0)
    low, high = stored(mapping)
    quarter, median, three = (percentile(total, q) for q in (25.0, 50.0, 75.0))
    quarter, three = (min(max(edge, low), high) for edge in (quarter, three))
    if three - quarter > NARROW * (high - low):
        return []
    reach = WIDE_WINDOW * max(three - quarter, 1.0)
    edges = (max(low, median - reach), min(high, median + reach))
    first, last = (floor(edge * mapping.scale + mapping.offset + 0.5) for edge in edges)
    message = (
        f"half of all pixels lie within a tenth of the range from {number(mapping.low)} to "
        f"{number(mapping.high)}, so views are mostly one shade of gray."
    )
    hint = (
        f"If what matters lies there, add the dataset with --range {first}:{last}, or state "
        f"views.window {first}:{last} for one job."
    )
    return [DataWarning(code="narrow_content", message=message, hint=hint)]


def number(value: float) -> str:
    """Return a value as a person writes it, with six digits."""
    return f"{value:.6g}"

"""Which values of a dataset are seen as 0 and as 1, and what follows: moments and warnings."""

from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack import Pack
from trainer.events import DatasetFacts, DataWarning, ValueMapping
from trainer.ingest_options import window_of
from trainer.views.spec import DATASET

Counts = NDArray[np.int64]
"""How many pixels of each channel have each stored value, [channels, 256 or 65536]."""
PERCENTILES = (0.1, 99.9)
"""What `auto` takes for the darkest and the brightest value: the extremes may be outliers."""
LITTLE_RANGE = 0.25
"""Values of 16 bits that reach less of them are told of: the file's range says little of them."""
NARROW = 0.1
"""Half of all pixels within so small a share of the range: most of what is seen is one grey."""
WIDE_WINDOW = 2.0
"""A suggested window is so many times as wide as the half of the pixels around the median."""


@dataclass(frozen=True, slots=True)
class Levels:
    """How stored values become what a network is given."""

    low: float
    """The stored value that becomes 0."""
    high: float
    """The stored value that becomes 1."""
    mean: tuple[float, ...]
    """Of each channel after that."""
    std: tuple[float, ...]
    dtype: str = "uint8"
    """Of stored values."""

    @property
    def channels(self) -> int:
        """Of each row."""
        return len(self.mean)

    @property
    def is_plain(self) -> bool:
        """Whether 8 bits are seen from 0 to 255, as they are."""
        return self.dtype == "uint8" and (self.low, self.high) == (0.0, 255.0)


def mapping_of(counts: Counts, mapping: ValueMapping, *, asked: str) -> ValueMapping:
    """Fill in which values are seen as 0 and 1. `asked`: auto, full or LO:HI."""
    total = counts.sum(axis=0)
    reached = np.flatnonzero(total)
    first, last = int(reached[0]), int(reached[-1])

    def source(stored: float) -> float:
        return stored * mapping.scale + mapping.offset

    extremes = {"value_min": source(first), "value_max": source(last)}
    window = window_of(asked)
    if window is not None:
        return _with(mapping, rule="stated", low=window[0], high=window[1], **extremes)
    if asked == "auto" and mapping.source_dtype == "uint8":
        return _with(mapping, rule="identity", low=0.0, high=255.0, **extremes)
    bounds = (float(first), float(last))
    if asked == "auto":
        found = (percentile(total, PERCENTILES[0]), percentile(total, PERCENTILES[1]))
        bounds = found if found[0] < found[1] else bounds
    low, high = bounds if bounds[0] < bounds[1] else (bounds[0], bounds[0] + 1.0)
    return _with(mapping, rule=asked, low=source(low), high=source(high), **extremes)


def _with(mapping: ValueMapping, **changes: float | str) -> ValueMapping:
    return mapping.model_copy(update=changes)


def percentile(total: NDArray[np.int64], q: float) -> float:
    """numpy.percentile of the values that `total` counts, interpolated linearly."""
    ends = np.cumsum(total)
    place = (int(ends[-1]) - 1) * (q / 100.0)
    below = floor(place)
    low, high = (int(np.searchsorted(ends, at, side="right")) for at in (below, below + 1))
    high = min(high, int(np.flatnonzero(total)[-1]))
    return low + (high - low) * (place - below)


def moments(
    counts: Counts, *, low: float, high: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel, of stored values seen as 0 from `low` and as 1 from `high`."""
    levels = counts.shape[1]
    if levels == 256 and (low, high) == (0.0, 255.0):
        return _plain_moments(counts)
    seen = ((np.arange(levels) - low) / (high - low)).clip(0.0, 1.0)
    pixels = counts.sum(axis=1)
    means = (counts @ seen) / pixels
    variances = ((seen - means[:, None]) ** 2 * counts).sum(axis=1) / pixels
    return tuple(means.tolist()), tuple(np.sqrt(variances).tolist())


def _plain_moments(counts: Counts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """From whole numbers, so that the order of sums cannot matter."""
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
    """The stored values that stand for two values of the source: by default the range's."""
    low, high = window or (mapping.low, mapping.high)
    return (low - mapping.offset) / mapping.scale, (high - mapping.offset) / mapping.scale


def levels_of(facts: DatasetFacts) -> Levels:
    """How a dataset is seen where a job states no window of its own."""
    mapping = facts.values or ValueMapping(low=0.0, high=255.0)
    low, high = stored(mapping)
    return Levels(low, high, facts.mean, facts.std, facts.dtype)


def levels_in(pack: Pack, window: str) -> Levels:
    """How a pack is seen in a job's window, LO:HI in values of the source, or `dataset`."""
    bounds = None if window == DATASET else window_of(window)
    if bounds is None:
        return levels_of(pack.facts)
    mapping = pack.facts.values or ValueMapping(low=0.0, high=255.0)
    low, high = stored(mapping, bounds)
    mean, std = moments(pack.counts(), low=low, high=high)
    return Levels(low, high, mean, std, pack.facts.dtype)


def value_warnings(counts: Counts, mapping: ValueMapping) -> list[DataWarning]:
    """What the owner should know of how values lie in their range."""
    return [*_little_range(mapping), *_narrow_content(counts, mapping)]


def _little_range(mapping: ValueMapping) -> list[DataWarning]:
    if mapping.source_dtype not in {"uint16", "int16"} or mapping.value_max is None:
        return []
    top = 65_535 if mapping.source_dtype == "uint16" else 32_767
    if mapping.value_max > LITTLE_RANGE * top:
        return []
    seen = f"{number(mapping.low)} is seen as black and {number(mapping.high)} as white"
    message = f"values reach {number(mapping.value_max)} of {top}"
    hint = f"{seen}. If that is not what matters, state a range (--range LO:HI)."
    return [DataWarning(code="little_range", message=message, hint=hint)]


def _narrow_content(counts: Counts, mapping: ValueMapping) -> list[DataWarning]:
    """Half of all pixels in a tenth of the range; the widest channel decides."""
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
        f"{number(mapping.high)}, so views are mostly of one grey"
    )
    hint = (
        f"If what matters lies there, add the dataset with --range {first}:{last}, or state "
        f"views.window {first}:{last} for one job."
    )
    return [DataWarning(code="narrow_content", message=message, hint=hint)]


def number(value: float) -> str:
    """A value as people write it."""
    return f"{value:.6g}"

"""Values of 32 bits and floats: measured over a whole dataset, then kept in 16 bits."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.modalities.image.decoded import Decoded

STEPS = 65_535
NUMBER_MAX = 1e30
"""Largest magnitude of a real value; larger ones are fill values, such as -3.4e38 in GeoTIFFs."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The smallest and the largest finite value of all pixels."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """Values of the source for each step that is kept."""
        return (self.high - self.low) / STEPS or 1.0

    def joined(self, other: "Extent | None") -> "Extent":
        """Return the extent of both."""
        if other is None:
            return self
        return Extent(min(self.low, other.low), max(self.high, other.high))


def is_number(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of valid values; the rest are infinite, NaN, or mark missing data."""
    with np.errstate(invalid="ignore"):
        is_valid: NDArray[np.bool_] = np.abs(values) <= NUMBER_MAX
    return is_valid


def extent_of(row: Decoded) -> Extent | None:
    """Return the extent of a row of wide values; None if no pixel is finite."""
    values = np.frombuffer(row.pixels, "<f8")
    finite = values[is_number(values)]
    return Extent(float(finite.min()), float(finite.max())) if len(finite) else None


def kept_in_16_bits(row: Decoded, extent: Extent) -> Decoded:
    """Return the row with its values in 65,536 steps, where what is no number is the smallest."""
    values = np.frombuffer(row.pixels, "<f8")
    finite = is_number(values)
    steps = np.rint((np.where(finite, values, extent.low) - extent.low) / extent.scale)
    return replace(row, pixels=steps.clip(0, STEPS).astype("<u2").tobytes(), mapped=True)

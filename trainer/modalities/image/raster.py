"""Turn the values of one file into a row: alpha, channels, size and value type."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.rows import BadRow, Kind
from trainer.data.spec import CHANNELS_MAX, IngestOptions
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.formats.pictures import shrink_of
from trainer.modalities.image.wide_values import is_number
from trainer.schema.choices import ShrinkFilter

Values = NDArray[Any]
FILTERS: dict[ShrinkFilter, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
}
LUMA = (0.299, 0.587, 0.114)
"""Luma weights of ITU-R 601-2, as in Pillow."""
SIGN = 32_768
"""Added to signed values of 16 bits, so that they are kept without a sign."""


@dataclass(frozen=True, slots=True)
class Raster:
    """The values of a file, upright."""

    values: Values
    """[height, width, channels] of any type."""
    has_alpha: bool = False
    """True if the last channel is alpha."""


def finished(
    raster: Raster, options: IngestOptions, *, sent_px: tuple[int, int] = (0, 0)
) -> Decoded:
    """Return the row of a file. Raises BadRow.

    `sent_px` are the shorter and the longer side of the file; 0 for those of the values.
    """
    values = raster.values.astype(raster.values.dtype.newbyteorder("="), copy=False)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    sides = sorted(values.shape[:2])
    dtype = values.dtype.name
    kind = kind_of(values)
    values, left_out = with_channels(_without_alpha(raster, values, options), options, kind)
    if kind == "wide":
        values = values.astype(np.float64)
    channels = values.shape[2]
    name = stored_filter(options.shrink_filter, dtype=values.dtype.name, channels=channels)
    values = _shrunk(values, options.side_px_max, name)
    height, width = values.shape[:2]
    return Decoded(
        _kept(values, kind),
        height,
        width,
        sent_px[0] or sides[0],
        sent_px[1] or sides[1],
        channels=channels,
        kind=kind,
        dtype=dtype,
        non_finite=_non_finite(values),
        channels_left_out=left_out,
    )


def kind_of(values: Values) -> Kind:
    """Return how a file keeps its values. Raises BadRow."""
    if values.dtype == np.uint8:
        return "uint8"
    if values.dtype == np.uint16:
        return "uint16"
    if values.dtype in (np.int16, np.int8):
        return "int16"
    if values.dtype.kind in "iuf":
        return "wide"
    raise BadRow("wrong_type", f"values of the type {values.dtype}")


def _without_alpha(raster: Raster, values: Values, options: IngestOptions) -> Values:
    """Return colors on white where alpha differs between pixels, else the colors as they are."""
    if not raster.has_alpha or options.channels == values.shape[2]:
        return values
    colours, alpha = values[:, :, :-1], values[:, :, -1:]
    is_flat = alpha.min() == alpha.max() or values.dtype.kind not in "iu"
    if options.alpha == "drop" or is_flat:
        return colours
    white = float(np.iinfo(values.dtype).max)
    opaque = alpha / white
    return np.rint(colours * opaque + white * (1.0 - opaque)).astype(values.dtype)


def with_channels(values: Values, options: IngestOptions, kind: Kind) -> tuple[Values, int]:
    """Return the requested channels and the number of dropped ones. Raises BadRow."""
    channels, requested = values.shape[2], options.channels
    if requested == "auto":
        requested = _usual(channels, kind)
    if channels == requested:
        return values, 0
    if channels == 1 and requested == 3:
        return np.repeat(values, 3, axis=2), 0
    if channels == 3 and requested == 1:
        return _luma(values), 0
    if channels > requested:
        return values[:, :, :requested], channels - requested
    raise BadRow(
        "other_channels", f"{channels} channels of {values.dtype}; {requested} are asked for"
    )


def _usual(channels: int, kind: Kind) -> int:
    """Return the channels of a row by those of the file: three for 8-bit gray and color."""
    if channels > CHANNELS_MAX:
        raise BadRow("wrong_type", f"{channels} channels; 1 to {CHANNELS_MAX} are read")
    if channels == 4 or (channels == 1 and kind == "uint8"):
        return 3
    return channels


def _luma(values: Values) -> Values:
    grey: Values = values @ np.array(LUMA)
    rounded: Values = np.rint(grey) if values.dtype.kind in "iu" else grey
    grey_only: Values = rounded.astype(values.dtype)[:, :, None]
    return grey_only


def stored_filter(requested: ShrinkFilter, *, dtype: str, channels: int) -> ShrinkFilter:
    """Return the shrink filter for rows of this type and channel count.

    Lanczos overshoots, which Pillow clips for 8 bits only: other rows always use bilinear.
    """
    return requested if dtype == "uint8" and channels in (1, 3) else "bilinear"


def _shrunk(values: Values, side_px_max: int, name: ShrinkFilter) -> Values:
    """Shrink [H, W, C] to a shorter side of at most `side_px_max`. NaN stays NaN."""
    height, width = values.shape[:2]
    shrink = shrink_of(width, height, side_px_max)
    if shrink == 1.0:
        return values
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    if values.dtype == np.uint8:
        return _each(values, size, np.uint8, FILTERS[name])
    if values.dtype.kind in "iu":
        whole: Values = np.rint(_each(values, size, np.float32)).astype(values.dtype)
        return whole
    lost = ~is_number(values)
    if not lost.any():
        return _each(values, size, np.float32).astype(values.dtype)
    floor = values[~lost].min() if not lost.all() else 0.0
    small: Values = _each(np.where(lost, floor, values), size, np.float32).astype(values.dtype)
    small[_each(lost.astype(np.uint8) * 255, size, np.uint8) >= 128] = np.nan
    return small


def _each(
    values: Values,
    size: tuple[int, int],
    dtype: Any,  # noqa: ANN401
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> NDArray[Any]:
    """Resize each channel separately.

    Pillow's filters widen with the shrink, so nothing aliases.
    """
    small = []
    for channel in range(values.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(values[:, :, channel], dtype))
        small.append(np.asarray(plane.resize(size, resample)))
    return np.stack(small, axis=2)


def _kept(values: Values, kind: Kind) -> bytes:
    if kind == "uint8":
        return values.tobytes()
    if kind == "int16":
        return (values.astype(np.int32) + SIGN).astype("<u2").tobytes()
    return values.astype("<f8" if kind == "wide" else "<u2").tobytes()


def _non_finite(values: Values) -> int:
    return int((~is_number(values)).sum()) if values.dtype.kind == "f" else 0

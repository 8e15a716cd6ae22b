"""Writes the rows of images of one layout, and counts what the facts of a dataset say of them."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.pack.format import (
    COUNTS,
    INDEX,
    MASK,
    MASKED,
    SENT,
    SENT_SIZE,
    Columns,
    rows_file,
)
from trainer.data.pack.rows_writer import HashedFile, RowsWriter
from trainer.data.rows import Layout
from trainer.data.spec import IngestSpec
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.jpeg_rows import JPEG_CHANNELS
from trainer.modalities.image.masks import mask_warnings
from trainer.modalities.image.packed import counted
from trainer.modalities.image.raster import SIGN, stored_filter
from trainer.modalities.image.size_histogram import SideCounter
from trainer.modalities.image.values import mapping_of, moments, stored, value_warnings
from trainer.modalities.image.wide_values import Extent, extent_of
from trainer.schema.errors import DataError
from trainer.schema.events import DataWarning, ValueMapping

AGREED = 0.9
"""Fraction of rows that must suggest the same window before it is reported."""


class ImageRowsWriter(RowsWriter[Decoded]):
    """Images of one layout: pixels or JPEGs, masks, sizes, and the histogram of their values."""

    derived: ClassVar[frozenset[str]] = frozenset({COUNTS})

    def __init__(
        self, folder: Path, layout: Layout, *, spec: IngestSpec, extent: Extent | None
    ) -> None:
        """`extent` is that of the wide values of all rows, when known."""
        super().__init__(folder, layout, rows_file=rows_file(spec.store_as, layout.dtype))
        self._spec, self._extent = spec, extent
        self.sides = SideCounter()
        self.measured: Extent | None = None
        """Extent of wide values, while they are only measured."""
        self.non_finite = self.channels_left_out = self.pages_left_out = 0
        self.truncated_kept = 0
        self.windows: Counter[tuple[float, float]] = Counter()
        """Number of rows per suggested value range."""
        self.axes: Counter[str] = Counter()
        """Files that say this of their pages."""
        self.source_dtype = ""
        levels = 256 if layout.dtype == "uint8" else 65_536
        self.counts = np.zeros((layout.channels, levels), np.int64)
        self._sent, self._was_shrunk = bytearray(), False
        self._masked = bytearray()
        self.mask_counts = np.zeros(256, np.int64)
        """Number of pixels of masks with each value."""

    def check(self) -> None:
        """Raise DataError if the rows cannot be kept as JPEG and should be."""
        if self._spec.store_as == "pixels":
            return
        if self.layout.kind != "uint8" or self.layout.channels not in JPEG_CHANNELS:
            raise DataError(
                f"Rows with {self.layout.words()} cannot be kept as JPEG, which has 8 bits.",
                hint="Add the dataset with store_as 'pixels'.",
            )

    def columns(self) -> Columns:
        """Return the entry of `pack.json` for each column."""
        pixels = {
            "file": self.rows_file,
            "dtype": self.layout.dtype,
            "channels": self.layout.channels,
        }
        columns = {"pixels": pixels, **super().columns()}
        for name, file in (("sent", SENT), ("mask", MASK), ("masked", MASKED)):
            if file in self._files:
                columns[name] = {"file": file}
        return columns

    @cached_property
    def values(self) -> ValueMapping:
        """Mapping from stored values to source values, with those that become 0 and 1."""
        scale, offset = 1.0, 0.0
        if self.layout.kind == "int16":
            offset = -float(SIGN)
        if self.layout.kind == "wide" and self._extent is not None:
            scale, offset = self._extent.scale, self._extent.low
        mapping = ValueMapping(
            low=0.0,
            high=255.0,
            scale=scale,
            offset=offset,
            source_dtype=self.source_dtype,
            non_finite=self.non_finite,
        )
        return mapping_of(self.counts, mapping, requested=self._spec.range)

    def identity(self) -> dict[str, Any]:
        """Return the range of the values, unless they are seen as they are."""
        values = self.values
        if values.rule == "identity":
            return {}
        return {"values": [values.low, values.high, values.scale, values.offset]}

    def facts(self) -> dict[str, Any]:
        """Return sizes, values and moments of the images, and how they are kept."""
        index = self.index
        sides = np.stack([index["height"], index["width"]]).astype(np.int64)
        short, long = sides.min(axis=0), sides.max(axis=0)
        low, high = stored(self.values)
        mean, std = moments(self.counts, low=low, high=high)
        dtype, channels = self.layout.dtype, self.layout.channels
        return {
            "side_px_min": int(short.min()),
            "side_px_median": int(np.sort(short)[len(short) // 2]),
            "side_px_max": int(long.max()),
            "same_size": bool((sides == sides[:, :1]).all()),
            "channels": channels,
            "dtype": dtype,
            "values": self.values,
            "mean": mean,
            "std": std,
            "stored_as": self._spec.store_as,
            "stored_side_px": self._spec.side_px_max,
            "shrink_filter": stored_filter(
                self._spec.shrink_filter, dtype=dtype, channels=channels
            ),
            "alpha": self._spec.alpha,
            "masked_rows": sum(self._masked),
            "sides_sent": self.sides.histogram(),
            "truncated_kept": self.truncated_kept,
        }

    def warnings(self) -> list[DataWarning]:
        """Return warnings for parts of files that are left out, and for unusual values."""
        return [
            *_left_out(self),
            *_suggested(self),
            *value_warnings(self.counts, self.values),
            *mask_warnings(self.mask_counts),
        ]

    def _write(self, rows: Sequence[Decoded]) -> None:
        for row in rows:
            self._count(row)
        if rows[0].kind != "wide" or rows[0].mapped:
            super()._write(rows)
            self.counts += self._counted(b"".join(row.pixels for row in rows))
        self._write_masks(rows)

    def _count(self, row: Decoded) -> None:
        """Add a row to the figures of all rows."""
        self.sides.add(row.sent_side_px)
        self._sent += np.array(row.sent, SENT_SIZE).tobytes()
        self._was_shrunk |= row.sent != row.shape
        self.source_dtype = self.source_dtype or row.dtype
        self.non_finite += row.non_finite
        self.channels_left_out += row.channels_left_out > 0
        self.pages_left_out += row.pages_left_out
        self.truncated_kept += row.is_truncated
        self.windows.update([row.window] if row.window else ())
        self.axes.update([row.axes] if row.axes else ())
        if row.kind == "wide" and not row.mapped:
            extent = extent_of(row)
            self.measured = extent.joined(self.measured) if extent is not None else self.measured

    def _counted(self, pixels: bytes) -> NDArray[np.int64]:
        levels = self.counts.shape[1]
        if self.layout == ("uint8", 3):
            # Pillow counts values faster than numpy adds them.
            counts = Image.frombytes("RGB", (1, len(pixels) // 3), pixels).histogram()
            return np.array(counts, dtype=np.int64).reshape(3, levels)
        flat = np.frombuffer(pixels, "<u2" if levels > 256 else np.uint8)
        return counted(flat.reshape(-1, self.layout.channels), levels)

    def _write_masks(self, rows: Sequence[Decoded]) -> None:
        """Write masks of these rows, once any row has had one; zeros for those without."""
        self._masked += bytes(row.mask is not None for row in rows)
        if MASK not in self._files and all(row.mask is None for row in rows):
            return
        if MASK not in self._files:
            self._files[MASK] = HashedFile(self.folder / MASK)
            before = np.frombuffer(self._index, INDEX)[: self.rows]
            for entry in before:
                self._files[MASK].write(bytes(int(entry["height"]) * int(entry["width"])))
        for row in rows:
            self._files[MASK].write(row.mask or bytes(row.height * row.width))
            if row.mask:
                values = np.frombuffer(row.mask, np.uint8)
                self.mask_counts += np.bincount(values, minlength=256)

    def _columns(self) -> dict[str, bytes]:
        columns = super()._columns()
        if self._was_shrunk:
            columns[SENT] = bytes(self._sent)
        if any(self._masked) and not all(self._masked):
            columns[MASKED] = bytes(self._masked)
        columns[COUNTS] = self.counts.astype("<i8").tobytes()
        return columns


def _left_out(part: ImageRowsWriter) -> list[DataWarning]:
    """Return warnings for parts of files that rows do not hold."""
    counts = (
        (
            "channels_left_out",
            part.channels_left_out,
            f"files have more than the {part.layout.channels} channels that rows keep",
            "To keep all of them add the dataset with their number (--channels).",
        ),
        (
            "pages_left_out",
            part.pages_left_out,
            "pages of files with several pages are left out",
            "To make a row of each add the dataset with --pages rows.",
        ),
        (
            "non_finite",
            part.non_finite,
            "pixels are no numbers and became the smallest value",
            "State a range that begins above it (--range LO:HI) if they should not count.",
        ),
    )
    return [
        DataWarning(code=code, message=f"{count:,} {message}.", hint=hint)
        for code, count, message, hint in counts
        if count
    ]


def _suggested(part: ImageRowsWriter) -> list[DataWarning]:
    """Return what files say of their own values and pages, where enough of them agree."""
    warnings = []
    for window, rows in part.windows.most_common(1):
        if rows >= AGREED * part.rows:
            low, high = (f"{value:g}" for value in window)
            message = f"{rows:,} of {part.rows:,} files suggest to show the values {low} to {high}."
            hint = f"It is not applied. To see them so: --range {low}:{high}, or views.window."
            warnings.append(DataWarning(code="suggested_window", message=message, hint=hint))
    for axes, rows in part.axes.most_common(1):
        message = f"{rows:,} files say that their pages are {axes}."
        hint = "A row is one page: with --pages rows each of them, without it the first."
        warnings.append(DataWarning(code="hyperstacks", message=message, hint=hint))
    return warnings

"""Options of one ingest: how files become rows, and what a source may cost before it is refused.

The API, the command line, the client and the page read their fields from here.
"""

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from trainer.schema.base import Record
from trainer.schema.choices import Alpha, ShrinkFilter, SourceFormat, StoredAs

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
RANGE = re.compile(rf"({NUMBER}):({NUMBER})")
CHANNELS_MAX = 16
SIDE_PX_LIMIT = 4096
ASPECT_MAX = 4
"""Limit of the stored longer side, as a multiple of `side_px_max`."""

Channels = Annotated[int, Field(ge=1, le=CHANNELS_MAX)]


class IngestOptions(Record):
    """Ingest options; the server's defaults fill in the rest."""

    range: Annotated[str, Field(min_length=1, max_length=64)] = "auto"
    """Source values that become black and white: `auto` cuts a thousandth of the pixels at both
    ends, `full` takes minimum and maximum, `860:1260` names them. One range for all rows."""
    channels: Literal["auto"] | Channels = "auto"
    """Channels per image, 1 to 16; `auto` uses the most common number."""
    alpha: Alpha = "white"
    """Transparency: blend onto `white`, or `drop` the alpha channel."""
    side_px_max: Annotated[int, Field(ge=8, le=SIDE_PX_LIMIT)] = 256
    """Images with a longer shorter side are downscaled to this."""
    shrink_filter: ShrinkFilter = "lanczos"
    """Filter that shrinks 8-bit gray and color images: `lanczos` keeps detail, `bilinear` is that
    of earlier versions. Deep values and other channels are always shrunk by `bilinear`."""
    pages: Literal["first", "rows"] = "first"
    """Files with several pages or frames: only the `first`, or all of them as `rows`."""
    follow_links: bool = False
    """Follow symbolic links in a folder, within the allowed roots."""
    keep_truncated: bool = True
    """Keep truncated images; the missing part is gray, and they are counted."""
    masks: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Folder of masks inside the source; its files are not training images."""
    pixels_max: Annotated[int, Field(ge=1, lt=2**40)] = 100_000_000
    """Limit: pixels per decoded image. JPEGs are decoded at a reduced size."""
    file_bytes_max: Annotated[int, Field(ge=1, lt=2**50)] = 256 * 1024**2
    """Limit: bytes per image file."""
    total_bytes_max: Annotated[int, Field(ge=1, lt=2**60)] = 100 * 1024**3
    """Limit: total unpacked bytes."""
    entries_max: Annotated[int, Field(ge=1, lt=2**40)] = 2_000_000
    """Limit: number of files in an archive or folder, or rows of an array."""
    ratio_max: Annotated[int, Field(ge=2, lt=2**20)] = 200
    """Limit: compression ratio of an archive (unpacked / packed bytes)."""
    seconds_max: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 6 * 3600
    """Limit: ingest time in seconds."""

    @field_validator("range")
    @classmethod
    def _is_range(cls, text: str) -> str:
        if text not in ("auto", "full"):
            window_of(text)
        return text


class StoredOptions(IngestOptions):
    """Stored options; unknown fields of a newer version are kept."""

    model_config = ConfigDict(extra="allow")


USUAL = IngestOptions()
LIMITS = (
    *("pixels_max", "file_bytes_max", "total_bytes_max", "entries_max", "ratio_max"),
    "seconds_max",
)
"""Options that only bound the cost: they reject rows and never change pixels."""


def window_of(text: str) -> tuple[float, float] | None:
    """Return the bounds of a range such as `860:1260`, else None. Raises ValueError."""
    if text in ("auto", "full"):
        return None
    bounds = RANGE.fullmatch(text)
    low, high = (float(bounds[1]), float(bounds[2])) if bounds else (0.0, 0.0)
    if not low < high or max(abs(low), abs(high)) > 1e30:
        raise ValueError("auto, full, or two numbers LOW:HIGH such as 860:1260, the lower first")
    return low, high


class IngestSpec(IngestOptions):
    """Turn an archive or a folder into a pack. A job like any other, in the pool `ingest`."""

    dataset_id: str
    """Dataset that the pack belongs to."""
    source: str
    """The archive or folder, as a path that the worker can read."""
    roots: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Folders that must contain every file read, links resolved; empty: no restriction."""
    format: SourceFormat = "auto"
    """Format of the source; `auto` detects it from the first bytes."""
    store_as: StoredAs = "pixels"
    """Storage format: `jpeg` takes a tenth of the disk space, and time at every read."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Draws the rows of the preview."""

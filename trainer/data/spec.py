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

Channels = Annotated[int, Field(ge=1, le=CHANNELS_MAX)]


class IngestOptions(Record):
    """Options of how files become rows; the server's defaults fill the rest."""

    range: Annotated[str, Field(min_length=1, max_length=64)] = "auto"
    """Source values that become black and white: `auto` cuts a thousandth of the pixels at both
    ends, `full` takes minimum and maximum, `860:1260` names them. One range for all rows."""
    channels: Literal["auto"] | Channels = "auto"
    """Channels of a row, 1 to 16; auto takes what most files have."""
    alpha: Alpha = "white"
    """What becomes of see-through pixels: laid on `white`, or `drop` the alpha channel unread."""
    side_px_max: Annotated[int, Field(ge=8, le=SIDE_PX_LIMIT)] = 256
    """Images whose shorter side is longer are shrunk to it."""
    shrink_filter: ShrinkFilter = "lanczos"
    """Filter that shrinks 8-bit grey and colour images: `lanczos` keeps detail, `bilinear` is that
    of earlier versions. Deep values and other channels are always shrunk by `bilinear`."""
    pages: Literal["first", "rows"] = "first"
    """Of a file with several pages or frames: only the `first`, or all as `rows`."""
    follow_links: bool = False
    """Read what symbolic links in a folder lead to, as long as it stays under an allowed root."""
    keep_truncated: bool = True
    """Keep images that are cut off at the end; the missing part is grey, and they are counted."""
    masks: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Folder beside the images, inside the source, whose pictures are masks and never rows."""
    pixels_max: Annotated[int, Field(ge=1, lt=2**40)] = 100_000_000
    """Pixels of one image, as decoded. JPEGs are decoded at a fraction of their size."""
    file_bytes_max: Annotated[int, Field(ge=1, lt=2**50)] = 256 * 1024**2
    """Bytes of one image file."""
    total_bytes_max: Annotated[int, Field(ge=1, lt=2**60)] = 100 * 1024**3
    """Bytes of all files, unpacked."""
    entries_max: Annotated[int, Field(ge=1, lt=2**40)] = 2_000_000
    """Files in an archive or a folder, or rows of an array."""
    ratio_max: Annotated[int, Field(ge=2, lt=2**20)] = 200
    """Unpacked bytes for each packed byte of an archive."""
    seconds_max: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 6 * 3600
    """Seconds that the ingest may take."""

    @field_validator("range")
    @classmethod
    def _is_range(cls, text: str) -> str:
        if text not in ("auto", "full"):
            window_of(text)
        return text


class StoredOptions(IngestOptions):
    """Options as they lie on the disk or in the store: those of a newer version are kept."""

    model_config = ConfigDict(extra="allow")


USUAL = IngestOptions()
LIMITS = (
    *("pixels_max", "file_bytes_max", "total_bytes_max", "entries_max", "ratio_max"),
    "seconds_max",
)
"""Options that only bound the cost: they decide whether a row is kept, never how it looks."""


def window_of(text: str) -> tuple[float, float] | None:
    """Bounds of a range such as `860:1260`; None for `auto` and `full`. Raises ValueError."""
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
    """Whose content."""
    source: str
    """The archive or folder, as a path that the worker can read."""
    roots: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Folders that what is read must lie in, links followed; none: anywhere."""
    format: SourceFormat = "auto"
    """What the source is; auto looks at its first bytes."""
    store_as: StoredAs = "pixels"
    """How rows are kept: `jpeg` takes a tenth of the disk, and time whenever they are read."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Draws the rows of the preview."""

"""One row on its way from a file to a pack: how it is read, its pixels, or why it is none."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["uint8", "uint16", "int16", "wide"]
"""Value type of a file; `wide` stands for floats and 32-bit integers."""


class BadImage(Exception):
    """Image file that cannot be used; the other files can."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of one row."""

    pixels: bytes
    """[height, width, channels] of u8 or u16, or of float64 if wide; little end first."""
    height: int
    width: int
    sent_side_px: int
    """Shorter side before it was shrunk."""
    sent_long_px: int = 0
    """Longer side before it was shrunk; 0: that of the row."""
    jpeg: bytes | None = None
    """JPEG that the pixels were decoded from, if it is stored instead of them."""
    channels: int = 3
    kind: Kind = "uint8"
    dtype: str = "uint8"
    """Human-readable data type of the file's values."""
    mapped: bool = False
    """True if wide values were brought to 16 bits, by one map for all rows."""
    non_finite: int = 0
    """Pixels that are no number."""
    channels_left_out: int = 0
    """Channels of the file that were not read."""
    pages_left_out: int = 0
    """Pages skipped of a multi-page file."""
    told: str = ""
    """Page description from the file, such as `3 channels x 10 slices`."""
    window: tuple[float, float] | None = None
    """Darkest and brightest value that the file suggests to show."""
    is_truncated: bool = False
    """True if the end of the file is missing and grey."""
    more: tuple["Decoded", ...] = ()
    """Further rows of the same file, such as pages and frames."""
    mask: bytes | None = None
    """u8 [height, width], if the row has a mask."""
    mask_fault: str = ""
    """Reason that the row's mask cannot be used."""

    @property
    def sent(self) -> tuple[int, int]:
        """Height and width before it was shrunk."""
        if not self.sent_long_px:
            return self.height, self.width
        if self.height > self.width:
            return self.sent_long_px, self.sent_side_px
        return self.sent_side_px, self.sent_long_px

    @property
    def stored(self) -> bytes:
        """Return the bytes that are kept of the row."""
        return self.pixels if self.jpeg is None else self.jpeg

"""A decoded image, on its way from a file to a pack."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from trainer.data.rows import Kind, Layout


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of one row, and what is known of its file."""

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
    axes: str = ""
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
    def layout(self) -> Layout:
        """Type and number of channels of its values."""
        return Layout(self.kind, self.channels)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width

    @property
    def stored(self) -> bytes:
        """Bytes that are kept of the row."""
        return self.pixels if self.jpeg is None else self.jpeg

    def digest(self) -> bytes:
        """Return the hash of its size, layout and pixels."""
        digest = hashlib.sha256(b"%d %d " % self.shape)
        if self.layout != ("uint8", 3):
            digest.update(b"%s %d " % (self.kind.encode(), self.channels))
        digest.update(self.pixels)
        return digest.digest()

    def pages(self) -> tuple["Decoded", ...]:
        """Return all rows of its file, itself first."""
        return (replace(self, more=()), *self.more) if self.more else (self,)

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yield reason and detail of each line that the report holds about it."""
        if self.is_truncated:
            yield "truncated_kept", "the end of the file is missing; its place is gray"
        if self.mask_fault:
            yield "bad_mask", f"{self.mask_fault}; the row has none"
        if self.pages_left_out:
            axes = f" ({self.axes})" if self.axes else ""
            detail = f"{self.pages_left_out} further pages{axes}; --pages rows makes rows of them"
            yield "pages_left_out", detail

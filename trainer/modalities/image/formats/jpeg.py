"""JPEG files without what is not pixels. The markers are those of ITU T.81, annex B."""

from dataclasses import dataclass
from typing import Final

from trainer.modalities.image.formats.orientation import orientation_of

END: Final = b"\xff\xd9"
"""Appended to a file that is cut off: libjpeg then leaves the missing blocks grey."""
_SOS, _APP0, _APP1, _APP14, _COMMENT = 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Structure of a JPEG file, as far as its pixels depend on it."""

    data: bytes
    """Only the segments that pixels depend on, and everything from the first scan on."""
    orientation: int
    is_buffered: bool
    """True if decoding holds all coefficients: progressive files, and others of several scans."""


def parsed(data: bytes) -> Jpeg:
    """Drop comments and the segments of applications; what follows a damaged one is kept."""
    kept, exif, xmp = [data[:2]], b"", b""
    components, is_progressive, is_buffered = 0, False, False
    offset = 2
    while (offset := data.find(b"\xff", offset)) >= 0:
        while data[offset + 1 : offset + 2] == b"\xff":
            offset += 1
        marker = data[offset + 1] if offset + 1 < len(data) else 0
        if marker in _ALONE or marker == 0:
            offset += 2
            continue
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        body = data[offset + 4 : end]
        if marker == _SOS or end > len(data):
            is_buffered = is_progressive or body[:1] < bytes([components])
            kept.append(data[offset:])
            break
        if marker in _FRAMES:
            components, is_progressive = body[5] if len(body) > 5 else 0, marker == 0xC2
        if marker == _APP1 and body.startswith(b"Exif\0\0"):
            exif = exif or body
        elif marker == _APP1 and body.startswith(_XMP):
            xmp = xmp or body
        if _counts(marker, body):
            kept.append(data[offset:end])
        offset = max(end, offset + 2)
    return Jpeg(b"".join(kept), orientation_of(exif, xmp), is_buffered)


def _counts(marker: int, body: bytes) -> bool:
    """Return whether pixels depend on a segment: JFIF and Adobe's tell the colours."""
    if marker == _APP0:
        return body.startswith(b"JFIF\0")
    if marker == _APP14:
        return body.startswith(b"Adobe")
    return not (_APP0 <= marker <= 0xEF or marker == _COMMENT)

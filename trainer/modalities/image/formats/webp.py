"""WebP files without what is not pixels. The container is RIFF."""

from typing import Final

from trainer.data.rows import BadRow
from trainer.modalities.image.formats.orientation import orientation_of

_PIXELS: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_IMAGES: Final = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_FLAGS_KEPT: Final = 0b0001_0010
"""Alpha and animation, of a VP8X chunk; not ICC profile, EXIF and XMP."""


def stripped(data: bytes) -> tuple[bytes, int]:
    """Return the file with the chunks that pixels depend on, and its orientation.

    Raises BadRow if pixels are missing at its end: libwebp cannot decode what is left.
    """
    kept, exif, xmp = [], b"", b""
    offset = 12
    while offset + 8 <= len(data):
        name, size_bytes = (
            data[offset : offset + 4],
            int.from_bytes(data[offset + 4 : offset + 8], "little"),
        )
        body = data[offset + 8 : offset + 8 + size_bytes]
        if name == b"EXIF":
            exif = body
        elif name == b"XMP ":
            xmp = body
        elif name in _PIXELS:
            if len(body) < size_bytes:
                raise BadRow("truncated", "the WebP file ends before its last pixels")
            if name == b"VP8X" and body:
                body = bytes([body[0] & _FLAGS_KEPT]) + body[1:]
            head = name + size_bytes.to_bytes(4, "little")
            kept.append(head + body + b"\0" * (len(body) % 2))
        offset += 8 + size_bytes + size_bytes % 2
    if not any(chunk[:4] in _IMAGES for chunk in kept):
        raise BadRow("truncated", "the WebP file ends before its pixels")
    content = b"WEBP" + b"".join(kept)
    whole = b"RIFF" + len(content).to_bytes(4, "little") + content
    return whole, orientation_of(exif, xmp)

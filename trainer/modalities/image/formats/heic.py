"""HEIC photos, which phones write. The decoder is the extra package pillow-heif."""

import io

from PIL import Image

from trainer.data.rows import BadRow

EXTRA = "HEIC needs one more package: pip install 'mocoserve[heic]'"


def opened(data: bytes) -> Image.Image:
    """Return the first picture, upright, not decoded yet. Raises BadRow without the extra."""
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415  # an extra
    except ImportError:
        raise BadRow("wrong_type", EXTRA) from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image

"""Format of a file by its first bytes, and words for what is no image."""

import re
from typing import Final, Literal

Format = Literal[
    "JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIC", "DICOM"
]
NAMES: Final = "JPEG, PNG, WebP, TIFF, GIF, BMP, PNM, JPEG 2000, AVIF, HEIC and DICOM"
"""Format names for messages."""
SUFFIXES: Final = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "ppm", "pgm", "pbm", "pnm", "bmp"),
        *("tif", "tiff", "webp", "gif", "avif", "jp2", "j2k", "jpf", "heic", "heif", "hif"),
        *("dcm", "dicom"),
    )
)
"""Suffixes of images. The content, not the name, decides whether a file is an image."""
FIRST_BYTES: Final = 132
"""Number of leading bytes that identify a format."""

_MAGICS: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_PNM = re.compile(rb"P[1-6fF][\s#]")
_BRANDS: Final[dict[bytes, Format]] = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), "HEIC"),
}
_OTHERS: Final = (
    (b"%PDF", "a PDF"),
    (b"PK\3\4", "a zip archive or an office document"),
    (b"PK\5\6", "an empty zip archive"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"BZh", "packed by bzip2"),
    (b"\xfd7zXZ\0", "packed by xz"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"CDF", "a NetCDF file"),
    (b"PAR1", "a Parquet table"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"RIFF", "an AVI video or a sound"),
    (b"ID3", "a sound"),
    (b"OggS", "an Ogg sound or video"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"8BPS", "a Photoshop document"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
)
_MARKUP = re.compile(rb"\s*<(\?xml|!doctype|html|svg)", re.IGNORECASE)


def format_of(data: bytes) -> Format | None:
    """Return the format of an image file, or None if its first bytes are those of none."""
    for magic, name in _MAGICS:
        if data.startswith(magic):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if _PNM.match(data):
        return "PPM"
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    return "DICOM" if data[128:132] == b"DICM" else None


def _by_brand(data: bytes) -> Format | None:
    """Tell AVIF from HEIC: both use the same container, and both may have the brand mif1."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 128)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    formats = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    return "AVIF" if "AVIF" in formats else next(iter(formats), None)


def describe(data: bytes) -> str:
    """Return what the first bytes of a file that is no image seem to be."""
    for magic, words in _OTHERS:
        if data.startswith(magic):
            return words
    if data[4:8] == b"ftyp":
        return "an MP4 or QuickTime video"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if _MARKUP.match(data):
        return "XML, HTML or SVG"
    head = data[:FIRST_BYTES]
    if head and not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head):
        return "text"
    return "of no known format"

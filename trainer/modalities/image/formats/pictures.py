"""Pictures of one image file: decoded, upright, with the file's own values.

The format is detected from the content, never from the name. Metadata is removed before decoding,
so damaged metadata does not cost the picture.
"""

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.rows import BadRow
from trainer.data.spec import ASPECT_MAX, IngestOptions
from trainer.modalities.image.formats import dicom, heic, jpeg, pnm, tiff, webp
from trainer.modalities.image.formats import png as pngs
from trainer.modalities.image.formats.magic import NAMES, describe, format_of
from trainer.modalities.image.formats.orientation import orientation_of, upright, upright_array

PAGES_MAX: Final = 10_000
"""Pages of one file that may become rows."""
LARGE_PIXELS: Final = 25_000_000
PIXEL_BYTES: Final = 8
GREY: Final = 0x80
_LARGE = threading.Lock()
_ODD_TEXT: Final = re.compile(r"b['\"]|<|0x[0-9a-f]|[^ -~]")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a file."""

    pixels: Image.Image | NDArray[Any]
    """A Pillow image of 8 bits, or [H, W] or [H, W, C] of any type."""
    sent_side_px: int
    """Shorter side in the file."""
    sent_long_px: int = field(default=0, kw_only=True)
    """Longer side in the file; 0: that of the pixels."""
    is_truncated: bool = False
    """True if its end is missing and grey."""
    has_alpha: bool = False
    """True if the last channel of an array is declared to be alpha."""
    pages_left_out: int = 0
    axes: str = ""
    """Page description from the file, such as `3 channels x 10 slices`."""
    window: tuple[float, float] | None = None
    """Darkest and brightest value that the file suggests to show."""


def pictures_of(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    """Yield the pictures of a file: the first one, or more if `options.pages` says so.

    Raises BadRow.
    """
    if not data:
        raise BadRow("empty", "the file has no bytes")
    kind = format_of(data)
    if kind is None:
        raise BadRow("wrong_type", f"the content is {describe(data)}; {NAMES} are read")
    try:
        yield from READERS[kind](data, options)
    except BadRow:
        raise
    # A decoder fed with hostile bytes may raise anything; none of it may end the ingest.
    except Exception as error:
        raise _bad(kind, error) from error


def shrink_of(width: int, height: int, side_px_max: int) -> float:
    """Return the factor, at most 1, by which sides are multiplied."""
    short, long = sorted((width, height))
    return min(1.0, side_px_max / short, ASPECT_MAX * side_px_max / long)


def check_size(width: int, height: int, options: IngestOptions) -> None:
    """Raise BadRow if the image has more pixels than may be decoded."""
    if width < 1 or height < 1:
        raise BadRow("unreadable", "its header tells no size")
    if width * height > options.pixels_max:
        detail = f"{width} x {height} pixels; pixels_max is {options.pixels_max}"
        raise BadRow("oversize", detail)


def _check_bytes(words: str, size_bytes: int, options: IngestOptions) -> None:
    """Raise BadRow if values take more memory than the most pixels of RGBA of 16 bits do."""
    if size_bytes > PIXEL_BYTES * options.pixels_max:
        detail = f"{words} take {size_bytes} bytes; pixels_max allows {PIXEL_BYTES} for each pixel"
        raise BadRow("oversize", f"{detail}, and is {options.pixels_max}")


def _jpeg(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    parsed = jpeg.parsed(data)
    load = partial(_jpeg_pixels, is_buffered=parsed.is_buffered, options=options)
    image, side_px, is_cut = _patiently(load, parsed.data, jpeg.END, options)
    with Image.open(io.BytesIO(parsed.data), formats=("JPEG",)) as header:
        long_px = max(header.size)
    yield Picture(upright(image, parsed.orientation), side_px, is_cut, sent_long_px=long_px)


def _jpeg_pixels(data: bytes, *, is_buffered: bool, options: IngestOptions) -> Any:  # noqa: ANN401
    """Decode at a half, a quarter or an eighth of the size, if that is enough.

    At least two decoded pixels remain for each stored one, so the filter that follows still has
    what it averages.
    """
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        side_px = min(image.size)
        if is_buffered:
            check_size(*image.size, options)
        shrink = shrink_of(*image.size, options.side_px_max) * 2.0
        if shrink < 1.0:
            image.draft(None, (round(image.width * shrink), round(image.height * shrink)))
        check_size(*image.size, options)
        with _turn(*image.size):
            image.load()
        return image, side_px


def _png(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    png = pngs.parsed(data)
    check_size(png.width, png.height, options)
    with _turn(png.width, png.height):
        whole = png
        if png.is_cut:
            _check_truncated(options)
            whole = pngs.mended(png)
        upper = _loaded(whole.file(), "PNG")
        pixels: Image.Image | NDArray[Any] = upright(upper, png.orientation)
        if png.is_deep:
            lower = np.asarray(_loaded(pngs.with_bytes_swapped(whole).file(), "PNG"))
            values = np.asarray(upper).astype(np.uint16) << 8 | lower
            if png.colour == pngs.GREY_ALPHA:  # Pillow makes RGBA of it
                values = values[:, :, 2:]
            pixels = upright_array(values, png.orientation)
    yield Picture(
        pixels,
        min(png.width, png.height),
        png.is_cut,
        has_alpha=png.is_deep and png.colour in pngs.WITH_ALPHA,
        pages_left_out=png.frames - 1,
    )


def _webp(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    stripped, orientation = webp.stripped(data)
    yield from _frames(stripped, "WEBP", options, orientation)


def _tiff(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    pages = tiff.pages(data, most=PAGES_MAX)
    if not pages:
        raise BadRow("unreadable", "the TIFF file has no picture")
    shown = pages if options.pages == "rows" else pages[:1]
    for index, page in enumerate(shown):
        check_size(page.width, page.height, options)
        with _turn(page.width, page.height):
            pixels, is_cut = _tiff_pixels(data, page, options)
        if isinstance(pixels, Image.Image) and pixels.mode == "RGBA" and options.channels != 4:
            alpha = np.asarray(pixels.getchannel("A"))
            is_alpha = page.has_alpha and tiff.looks_like_alpha(alpha)
            pixels = pixels if is_alpha else pixels.convert("RGB")
        yield Picture(
            pixels,
            min(page.width, page.height),
            is_cut,
            has_alpha=page.has_alpha
            and isinstance(pixels, np.ndarray)
            and tiff.looks_like_alpha(pixels[:, :, -1]),
            pages_left_out=len(pages) - len(shown),
            axes=tiff.axes_of(page) if not index else "",
        )


def _tiff_pixels(
    data: bytes, page: tiff.Page, options: IngestOptions
) -> tuple[Image.Image | NDArray[Any], bool]:
    if page.needs_array:
        _check_bytes(page.words(), page.unpacked_bytes, options)
        values, is_cut = tiff.array_of(data, page)
        if is_cut:
            _check_truncated(options)
        return upright_array(values, page.orientation), is_cut
    load = partial(_tiff_page, directory=page.directory)
    tail = bytes([GREY]) * min(4 * page.width * page.height, options.file_bytes_max)
    image, _, is_cut = _patiently(load, data, tail, options)
    return image, is_cut  # Pillow applies the orientation of a TIFF


def _tiff_page(data: bytes, *, directory: int) -> Any:  # noqa: ANN401
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        image.seek(directory)
        image.load()
        return image.copy(), min(image.size)


def _pnm(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    deep = pnm.deep_size(data)
    if deep is None:
        yield from _padded(data, "PPM", options)
        return
    check_size(*deep, options)
    values, is_cut = pnm.array_of(data, keep_truncated=options.keep_truncated)
    yield Picture(values, min(deep), is_cut)


def _bmp(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    yield from _padded(data, "BMP", options)


def _padded(data: bytes, kind: str, options: IngestOptions) -> Iterator[Picture]:
    """Read a format with uncompressed pixels at the end of the file."""
    width, height = _size(data, kind, options)
    load = partial(_loaded_with_side, kind=kind)
    tail = bytes([GREY]) * min(4 * width * height, options.file_bytes_max)
    image, side_px, is_cut = _patiently(load, data, tail, options)
    yield Picture(image, side_px, is_cut)


def _gif(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    yield from _frames(data, "GIF", options)


def _jpeg2000(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    yield from _frames(data, "JPEG2000", options)


def _avif(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    yield from _frames(data, "AVIF", options)


def _heic(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    with heic.opened(data) as image:
        check_size(*image.size, options)
        with _turn(*image.size):
            image.load()
        yield Picture(image, min(image.size))


def _dicom(data: bytes, options: IngestOptions) -> Iterator[Picture]:
    scan = dicom.opened(data)
    check_size(scan.width, scan.height, options)
    left_out = max(0, scan.frames - PAGES_MAX)
    for values in dicom.arrays_of(scan, most=PAGES_MAX):
        side_px = min(scan.width, scan.height)
        yield Picture(values, side_px, pages_left_out=left_out, window=scan.window)
        left_out = 0


READERS: Final[dict[str, Callable[[bytes, IngestOptions], Iterator[Picture]]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "BMP": _bmp,
    "PPM": _pnm,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
    "HEIC": _heic,
    "DICOM": _dicom,
}


def _frames(
    data: bytes, kind: str, options: IngestOptions, orientation: int | None = None
) -> Iterator[Picture]:
    """Read a format with frames that are decoded in order."""
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        check_size(*image.size, options)
        if orientation is None:
            orientation = orientation_of(image.info.get("exif", b""), _bytes(image.info.get("xmp")))
        count = int(getattr(image, "n_frames", 1))
        shown = min(count, PAGES_MAX) if options.pages == "rows" else 1
        for index in range(shown):
            with _turn(*image.size):
                if index:
                    image.seek(index)
                image.load()
            frame = upright(image.copy() if shown > 1 else image, orientation)
            left_out = 0 if index else count - shown
            yield Picture(frame, min(image.size), pages_left_out=left_out)


def _patiently(
    load: Callable[[bytes], Any], data: bytes, tail: bytes, options: IngestOptions
) -> tuple[Image.Image, int, bool]:
    """Return what `load` decodes, and whether it had to be given a tail first."""
    try:
        return *load(data), False
    except (OSError, EOFError) as error:
        if not _is_truncated(error):
            raise
    _check_truncated(options)
    image, side_px = load(data + tail)
    grey_pixels = image.convert("L").histogram()[GREY]
    if grey_pixels > image.width * (image.height - 1):
        raise BadRow("truncated", "the file ends before its second row of pixels")
    return image, side_px, True


def _check_truncated(options: IngestOptions) -> None:
    if not options.keep_truncated:
        raise BadRow("truncated", "the file is cut off at its end, and keep_truncated is false")


def _loaded(data: bytes, kind: str) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        image.load()
        return image


def _loaded_with_side(data: bytes, *, kind: str) -> tuple[Image.Image, int]:
    image = _loaded(data, kind)
    return image, min(image.size)


def _size(data: bytes, kind: str, options: IngestOptions) -> tuple[int, int]:
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        check_size(*image.size, options)
        return image.size


def _turn(width: int, height: int) -> AbstractContextManager[Any]:
    """Admit one thread at a time to decode a large image, which may take a gigabyte."""
    return _LARGE if width * height > LARGE_PIXELS else nullcontext()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value or "").encode()


def _is_truncated(error: Exception) -> bool:
    return isinstance(error, EOFError) or "truncated" in str(error).lower()


def _bad(kind: str, error: Exception) -> BadRow:
    """Return the reason in words; what a decoder says is kept where it is plain text."""
    if _is_truncated(error):
        return BadRow("truncated", f"the {kind} file ends before its last pixels")
    said = str(error)[:200].strip().rstrip(".")
    more = f": {said}" if said and not _ODD_TEXT.search(said) else ""
    return BadRow("unreadable", f"it begins like {kind}, but cannot be decoded{more}")

"""Formats by content, damage beside the pixels, cut files, pages: against Pillow and tifffile."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.support.data.images import encoded
from trainer.data.rows import BadRow
from trainer.data.spec import USUAL, IngestOptions
from trainer.modalities.image.decode import decode_file, strict_pillow
from trainer.modalities.image.formats.pictures import Picture, pictures_of

STRICT = IngestOptions(keep_truncated=False)


def photo(*, height: int = 74, width: int = 106) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def first(data: bytes, options: IngestOptions = USUAL) -> Picture:
    with strict_pillow():
        return next(pictures_of(data, options))


def values_of(data: bytes) -> NDArray[Any]:
    return np.asarray(first(data).pixels)


def rgb(data: bytes, options: IngestOptions = USUAL) -> NDArray[np.uint8]:
    picture = first(data, options).pixels
    assert isinstance(picture, Image.Image)
    return np.asarray(picture.convert("RGB"))


def refusal(data: bytes, options: IngestOptions = USUAL) -> BadRow:
    with pytest.raises(BadRow) as caught:
        first(data, options)
    assert "b'" not in caught.value.detail
    assert "<" not in caught.value.detail
    return caught.value


def png_chunk(name: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", found)


def png_with(chunk: bytes, image: Image.Image | None = None) -> bytes:
    """A PNG with one more chunk behind its header."""
    data = encoded(image or photo(), "PNG")
    return data[:33] + chunk + data[33:]


def jpeg_with(marker: int, body: bytes, image: Image.Image | None = None) -> bytes:
    data = encoded(image or photo(), "JPEG", quality=90)
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def webp_with(name: bytes, body: bytes) -> bytes:
    data = encoded(photo(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    chunk = name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return data[:4] + struct.pack("<I", len(data) + len(chunk) - 8) + data[8:] + chunk


def exif_of_a_phone(orientation: int) -> bytes:
    """Orientation beside a width, tag 0x100, that is text: what several phones write."""
    entries = struct.pack("<HHI4s", 0x100, 2, 4, b"106\0")
    entries += struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)


PNG_DAMAGE = {
    "garbage as EXIF": png_chunk(b"eXIf", b"garbage!"),
    "text of 2 MB": png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2_000_000))),
    "a profile of 2 MB": png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000))),
    "text with a bad checksum": png_chunk(b"tEXt", b"Title\0me", checksum=1),
    "a short gamma": png_chunk(b"gAMA", b"\0\0"),
    "an unknown chunk": png_chunk(b"abCd", bytes(99)),
    "a profile that is none": png_chunk(b"iCCP", b"\xff" * 20),
    "short resolution": png_chunk(b"pHYs", b"\0"),
    "short time": png_chunk(b"tIME", b"\0"),
    "a bad palette hint": png_chunk(b"hIST", b"\0"),
}


@pytest.mark.parametrize("damage", PNG_DAMAGE)
def test_damage_beside_the_pixels_of_a_png_costs_nothing(damage: str) -> None:
    picture = first(png_with(PNG_DAMAGE[damage]))
    assert not picture.is_truncated
    assert np.array_equal(np.asarray(picture.pixels), np.asarray(photo()))


@pytest.mark.parametrize(
    ("marker", "body"),
    [
        (0xE1, b"Exif\0\0garbage!"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken"),
        (0xE2, b"ICC_PROFILE\0\x01\x09" + bytes(60)),
        (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        (0xED, b"Photoshop 3.0\x008BIM\xff\xff\xff"),
        (0xEF, b""),
        (0xFE, b"\xff\xd9\xff\xda"),
    ],
)
def test_damage_beside_the_pixels_of_a_jpeg_costs_nothing(marker: int, body: bytes) -> None:
    assert np.array_equal(rgb(jpeg_with(marker, body)), rgb(encoded(photo(), "JPEG", quality=90)))


@pytest.mark.parametrize("body", [b"garbage!", b"", b"II*\0" + b"\xff" * 40])
@pytest.mark.parametrize("name", [b"EXIF", b"XMP ", b"ICCP", b"WHAT"])
def test_damage_beside_the_pixels_of_a_webp_costs_nothing(name: bytes, body: bytes) -> None:
    assert np.array_equal(rgb(webp_with(name, body)), rgb(encoded(photo(), "WEBP")))


def test_a_webp_that_ends_inside_what_is_not_pixels_is_whole() -> None:
    data = webp_with(b"XMP ", bytes(400))[:-200]
    assert np.array_equal(rgb(data), rgb(encoded(photo(), "WEBP")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_where_the_rest_of_the_exif_is_damaged(orientation: int) -> None:
    exif = exif_of_a_phone(orientation)
    turned = rgb(jpeg_with(0xE1, exif))
    clean = Image.Exif()
    clean[0x112] = orientation
    assert np.array_equal(turned, rgb(encoded(photo(), "JPEG", quality=90, exif=clean)))
    assert turned.shape[:2] == ((106, 74) if orientation >= 5 else (74, 106))
    assert np.array_equal(rgb(png_with(png_chunk(b"eXIf", exif[6:]))).shape, turned.shape)


def test_orientation_in_xmp_counts_where_exif_tells_none() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<rdf tiff:Orientation='6'/>"
    assert rgb(jpeg_with(0xE1, xmp)).shape == (106, 74, 3)
    text = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    assert rgb(png_with(png_chunk(b"iTXt", text))).shape == (106, 74, 3)


def test_a_row_does_not_depend_on_anything_beside_the_pixels() -> None:
    """The property: strip all ancillary chunks, or all segments of applications."""
    full = encoded(photo(), "PNG", dpi=(72, 72), icc_profile=bytes(300))
    bare = encoded(photo(), "PNG")
    assert decode_file(full, USUAL).pixels == decode_file(bare, USUAL).pixels
    jpeg = encoded(photo(), "JPEG", quality=90, icc_profile=bytes(300), comment=b"hello")
    segments = jpeg.index(b"\xff\xdb")
    assert decode_file(jpeg, USUAL).pixels == decode_file(jpeg[:2] + jpeg[segments:], USUAL).pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("percent", [90, 50])
def test_a_cut_tail_is_grey_and_said(kind: str, percent: int) -> None:
    whole = encoded(photo(), kind)
    picture = first(whole[: len(whole) * percent // 100])
    assert picture.is_truncated
    assert isinstance(picture.pixels, Image.Image)
    pixels = np.asarray(picture.pixels.convert("RGB"))
    same = (pixels == rgb(whole)).all(axis=(1, 2)).mean()
    assert percent / 100 - 0.3 <= same <= percent / 100 + 0.02
    corner = pixels[0 if kind == "BMP" else -1, -1]  # the last row of a BMP comes first
    assert np.array_equal(corner, np.full(3, 128))
    assert refusal(whole[: len(whole) * percent // 100], STRICT).reason == "truncated"


def test_a_jpeg_without_its_last_two_bytes_is_that_of_the_whole_file() -> None:
    whole = encoded(photo(), "JPEG")
    assert np.array_equal(rgb(whole[:-2]), rgb(whole))
    assert decode_file(whole[:-2], USUAL).is_truncated


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_cut_pngs_of_every_mode_keep_their_rows(mode: str) -> None:
    image = photo().convert("L").convert("I;16") if mode == "I;16" else photo().convert(mode)
    whole = encoded(image, "PNG")
    cut = np.asarray(first(whole[: len(whole) * 6 // 10]).pixels)
    full = np.asarray(first(whole).pixels)
    same = (cut == full).reshape(len(full), -1).all(axis=1)
    assert same[: len(full) // 4].all()
    assert not same.all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"])
def test_a_file_that_is_cut_before_its_pixels_is_refused(kind: str) -> None:
    assert refusal(encoded(photo(), kind)[:60]).reason in {"truncated", "unreadable"}


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "JPEG2000", "WEBP", "PPM", "MPO", "TIFF"])
def test_formats_are_those_of_pillow(kind: str) -> None:
    image = photo()
    data = encoded(image, kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(rgb(data), np.asarray(expected))


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("samples", [1, 3])
def test_deep_pnm_keeps_its_values(bits: int, samples: int) -> None:
    shape = (5, 7) if samples == 1 else (5, 7, 3)
    values = np.random.default_rng(bits).integers(0, 1 << bits, shape, dtype=np.uint16)
    magic = b"P5" if samples == 1 else b"P6"
    head = magic + b"\n# made here\n7 5 %d\n" % ((1 << bits) - 1)
    data = head + values.astype(">u2").tobytes()
    assert np.array_equal(values_of(data), values)
    cut = first(data[:-6])
    assert cut.is_truncated
    assert np.array_equal(np.asarray(cut.pixels).ravel()[:-3], values.ravel()[:-3])


@pytest.mark.parametrize("colour", [2, 4, 6])
@pytest.mark.parametrize("filter_type", range(5))
def test_deep_pngs_keep_all_sixteen_bits(colour: int, filter_type: int) -> None:
    """Filters by their definition, written byte by byte."""
    samples = {2: 3, 4: 2, 6: 4}[colour]
    values = np.random.default_rng(colour).integers(0, 65_536, (6, 5, samples), dtype=np.uint16)
    raw = [row.astype(">u2").tobytes() for row in values]
    pairs = zip(raw, [bytes(len(raw[0])), *raw], strict=False)
    rows = [_filtered(filter_type, row, above, 2 * samples) for row, above in pairs]
    head = png_chunk(b"IHDR", struct.pack(">2I5B", 5, 6, 16, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(rows)))
    data = b"\x89PNG\r\n\x1a\n" + head + body + png_chunk(b"IEND", b"")
    assert np.array_equal(values_of(data), values)


def _filtered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    made = bytearray([kind])
    for at, value in enumerate(row):
        left = row[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        guess = left + above[at] - corner
        near = min((left, above[at], corner), key=lambda one: abs(guess - one))
        made.append((value - (0, left, above[at], (left + above[at]) // 2, near)[kind]) % 256)
    return bytes(made)


def tiff(array: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("bands", [1, 3, 13])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
        {"bigtiff": True, "rowsperstrip": 7},
        {"byteorder": ">", "compression": "zlib", "predictor": True},
        {"planarconfig": "separate", "tile": (16, 16)},
    ],
)
def test_tiffs_of_any_depth_and_channels_keep_their_values(
    dtype: str, bands: int, options: dict[str, Any]
) -> None:
    values = (np.random.default_rng(1).random((45, 37, bands)) * 120 - 0).astype(dtype)
    values = values[:, :, 0] if bands == 1 else values
    sent = values
    if bands > 1 and options.get("planarconfig") == "separate":
        sent = np.moveaxis(values, 2, 0)
    elif bands > 1:
        options = {**options, "planarconfig": "contig"}
    elif "planarconfig" in options:
        pytest.skip("one band has no planes")
    data = tiff(sent, photometric="minisblack", **options)
    assert np.array_equal(values_of(data), values)


def test_white_is_zero_is_turned_at_any_depth() -> None:
    values = np.arange(600, dtype=np.uint16).reshape(20, 30)
    assert np.array_equal(values_of(tiff(values, photometric="miniswhite")), 65_535 - values)


def test_pages_are_counted_or_become_rows() -> None:
    slices = np.random.default_rng(0).integers(0, 255, (10, 20, 30), dtype=np.uint8)
    data = tiff(slices, photometric="minisblack")
    assert first(data).pages_left_out == 9
    row = decode_file(data, IngestOptions(pages="rows"))
    assert [len(row.more), row.pages_left_out] == [9, 0]
    assert row.more[8].pixels != row.pixels


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_hyperstacks_are_told(kind: str) -> None:
    stack = np.zeros((4, 3, 20, 30), np.uint16)
    data = tiff(stack, metadata={"axes": "ZCYX"}, **{kind: True})
    assert (first(data).pages_left_out, first(data).axes) == (11, "3 channels x 4 slices")


def test_smaller_copies_of_a_page_are_no_pages() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((64, 64), np.uint16))
        writer.write(np.zeros((32, 32), np.uint16), subfiletype=1)
    assert first(file.getvalue()).pages_left_out == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x18ftypmp42" + bytes(20), "an MP4 or QuickTime video"),
        (b"<svg xmlns='x'/>", "XML, HTML or SVG"),
        (b"hello there", "text"),
        (bytes(range(256)), "of no known format"),
        (b"PK\3\4rest", "a zip archive"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    assert words in refusal(data).detail
    assert refusal(data).reason == "wrong_type"


def test_a_large_jpeg_needs_no_limit_on_pixels() -> None:
    """It is decoded at an eighth of its size; one whose coefficients are held is not."""
    image = photo(height=640, width=960)
    options = IngestOptions(side_px_max=32, pixels_max=40_000)
    assert first(encoded(image, "JPEG"), options).sent_side_px == 640
    assert refusal(encoded(image, "JPEG", progressive=True), options).reason == "oversize"
    assert "pixels_max is 40000" in refusal(encoded(image, "PNG"), options).detail


@pytest.mark.parametrize("side_px_max", [64, 300, 512, 1024])
def test_decoding_at_a_fraction_changes_little_at_any_side(side_px_max: int) -> None:
    image = photo(height=1200, width=1600)
    small = decode_file(encoded(image, "JPEG", quality=95), IngestOptions(side_px_max=side_px_max))
    exact = decode_file(encoded(image, "PNG"), IngestOptions(side_px_max=side_px_max))
    assert (small.height, small.width) == (exact.height, exact.width)
    assert small.height == min(side_px_max, 1200)
    pixels = [np.frombuffer(row.pixels, np.uint8).astype(int) for row in (small, exact)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 2.0


def test_bands_count_against_the_limit_on_pixels() -> None:
    """200 x 200 pixels of 64 doubles take as much as 2.5 million pixels."""
    bands = tiff(np.zeros((200, 200, 64)), photometric="minisblack", planarconfig="contig")
    bad = refusal(bands, IngestOptions(pixels_max=100_000))
    assert bad.reason == "oversize"
    assert "64 bands of float64" in bad.detail


@pytest.mark.parametrize("width", [2**20, 2**31])
def test_a_tile_that_is_far_larger_than_its_image_is_refused(width: int) -> None:
    data = tiff(np.zeros((64, 64), np.uint16), tile=(64, 64))
    place = data.index(struct.pack("<HHI", 322, 4, 1))
    damaged = data[:place] + struct.pack("<HHII", 322, 4, 1, width) + data[place + 12 :]
    assert refusal(damaged).reason in {"oversize", "unreadable", "truncated"}


def test_a_small_file_of_many_pages_does_not_fill_the_memory() -> None:
    pages = np.zeros((40, 1024, 1024), np.uint8)
    pages[:, 0, 0] = np.arange(40)
    data = tiff(pages, photometric="minisblack", compression="zlib")
    row = decode_file(data, IngestOptions(pages="rows", side_px_max=1024))
    held = sum(len(page.pixels) for page in (row, *row.more))
    assert held < 20 * 1024**2
    assert row.pages_left_out == 40 - 1 - len(row.more)


KINDS = ["GIF", "AVIF", "JPEG2000", "BMP", "PPM", "MPO", "deep TIFF", "deep PNM", "tiled TIFF"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_byte_of_any_format_crashes(kind: str) -> None:
    draw = np.random.default_rng(0)
    values = draw.integers(0, 65_536, (24, 24, 5), dtype=np.uint16)
    made = {
        "deep TIFF": lambda: tiff(values, compression="lzw", planarconfig="contig"),
        "tiled TIFF": lambda: tiff(values[:, :, 0], tile=(16, 16), compression="zlib"),
        "deep PNM": lambda: b"P5 24 24 65535\n" + values[:, :, 0].tobytes(),
    }
    image = photo(height=24, width=24)
    data = made[kind]() if kind in made else encoded(image, kind)
    for place in draw.integers(0, len(data), 120):
        damaged = bytearray(data)
        damaged[place] ^= int(draw.integers(1, 256))
        with strict_pillow(), contextlib.suppress(BadRow):
            assert decode_file(bytes(damaged), USUAL).pixels


@pytest.mark.parametrize("size", [(6240, 4160), (8064, 6048)])
def test_photos_of_todays_cameras_are_rows_by_default(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 40, 90))
    for kind in ("JPEG", "PNG") if size[0] < 8000 else ("JPEG",):
        row = decode_file(encoded(image, kind), USUAL)
        assert (row.height, row.sent_side_px) == (256, size[1])
    assert USUAL.file_bytes_max > 72_000_000
    assert USUAL.pixels_max > size[0] * size[1]

"""Decoding: every mode against its definition, every damaged file against a reason."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.data.images import encoded, picture, png_of_size
from trainer.data.readers.items import REASONS
from trainer.data.rows import BadRow
from trainer.data.spec import IngestOptions
from trainer.modalities.image.decode import decode_array, decode_file, strict_pillow


def decoded(data: bytes, side_px_max: int = 256) -> NDArray[np.uint8]:
    with strict_pillow():
        row = decode_file(data, IngestOptions(side_px_max=side_px_max))
    return np.frombuffer(row.pixels, np.uint8).reshape(row.height, row.width, 3)


def reason_of(data: bytes) -> str:
    with pytest.raises(BadRow) as caught:
        decoded(data)
    assert caught.value.detail
    return caught.value.reason


def outcome(data: bytes) -> str:
    try:
        decoded(data)
    except BadRow as bad:
        return bad.reason
    return "decoded"


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    image = picture(1, height=7, width=9)
    assert np.array_equal(decoded(encoded(image, kind)), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_near(kind: str) -> None:
    image = Image.linear_gradient("L").convert("RGB")
    difference = decoded(encoded(image, kind)).astype(int) - np.asarray(image)
    assert np.abs(difference).max() < 12


def test_formats_that_are_not_asked_for_are_of_the_wrong_type() -> None:
    icon = encoded(picture(1), "ICO")
    assert reason_of(icon) == "wrong_type"
    assert reason_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "wrong_type"
    assert reason_of(b"just text that was renamed to photo.jpg") == "wrong_type"
    assert reason_of(b"") == "empty"


def test_grey_becomes_three_equal_channels() -> None:
    grey = picture(2).convert("L")
    expected = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    assert np.array_equal(decoded(encoded(grey)), expected)
    assert np.array_equal(decoded(encoded(grey, "PPM")), expected)


def test_bilevel_is_black_and_white() -> None:
    bits = Image.fromarray(np.eye(9, dtype=bool))
    assert np.array_equal(decoded(encoded(bits))[:, :, 1], np.eye(9, dtype=np.uint8) * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_kept(kind: str) -> None:
    values = np.arange(0, 65_536, 257, dtype=np.uint16).reshape(16, 16)
    with strict_pillow():
        row = decode_file(encoded(Image.fromarray(values), kind), IngestOptions())
    assert (row.kind, row.channels, row.dtype) == ("uint16", 1, "uint16")
    assert row.pixels == values.astype("<u2").tobytes()


def test_float_pixels_are_kept_as_they_are() -> None:
    values = np.linspace(-3, 3000, 64, dtype=np.float32).reshape(8, 8)
    with strict_pillow():
        row = decode_file(encoded(Image.fromarray(values), "TIFF"), IngestOptions())
    assert (row.kind, row.channels) == ("wide", 1)
    assert np.array_equal(np.frombuffer(row.pixels, "<f8"), values.ravel().astype(float))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_see_through_pixels_lie_on_white(mode: str) -> None:
    """alpha x colour + (1 - alpha) x white, within a level."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, len(mode)), dtype=np.uint8)
    image = Image.fromarray(pixels, mode=None) if mode == "RGBA" else Image.merge(
        "LA", [Image.fromarray(pixels[:, :, band].copy()) for band in (0, 1)]
    )  # fmt: skip
    alpha = pixels[:, :, -1:] / 255.0
    expected = pixels[:, :, :-1] * alpha + 255.0 * (1.0 - alpha)
    assert np.abs(decoded(encoded(image)) - np.broadcast_to(expected, (8, 8, 3))).max() <= 1.0


def test_palettes_with_and_without_transparency() -> None:
    image = picture(3).quantize(16)
    assert np.array_equal(decoded(encoded(image)), np.asarray(image.convert("RGB")))
    see_through = encoded(image, transparency=0)
    hidden = np.asarray(image) == 0
    assert bool((decoded(see_through)[hidden] == 255).all())
    assert np.array_equal(decoded(see_through)[~hidden], np.asarray(image.convert("RGB"))[~hidden])


def test_cmyk_jpeg_has_the_colours_of_its_rgb_twin() -> None:
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    pixels = decoded(encoded(flat.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - np.asarray(flat)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    """The definition of the eight values, as numpy turns and mirrors."""
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:8, :12] = (255, 0, 0)
    upright[16:, 30:] = (0, 0, 255)
    to_stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    stored = Image.fromarray(np.ascontiguousarray(to_stored[orientation]))
    pixels = decoded(encoded(stored, kind, exif=exif, **options))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 8


def test_damaged_exif_is_no_reason_to_lose_an_image() -> None:
    data = encoded(picture(1), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert decoded(data).shape == (12, 12, 3)


@pytest.mark.parametrize(
    ("size", "stored"),
    [((300, 200), (300, 200)), ((800, 600), (341, 256)), ((100, 4000), (26, 1024))],
)
def test_large_images_are_shrunk(size: tuple[int, int], stored: tuple[int, int]) -> None:
    """The shorter side to the limit, the longer one to four times the limit at most."""
    assert decoded(encoded(Image.new("RGB", size, "teal"), "PNG")).shape[1::-1] == stored


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_shrinking_does_not_alias(kind: str) -> None:
    """Stripes of one pixel become an even grey."""
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 255
    pixels = decoded(encoded(Image.fromarray(stripes), kind, **{"quality": 95}), 64)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[4:-4, 4:-4].astype(int) - 127).max() <= 6


def test_too_many_pixels_are_never_decoded() -> None:
    """The size in a header is enough, however small the file is."""
    for side_px in (10_001, 40_000):
        assert reason_of(png_of_size(side_px)) == "oversize"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"])
def test_no_prefix_of_a_file_crashes(kind: str) -> None:
    """Every prefix either decodes, the missing part grey, or has a reason; none in strict mode."""
    data = encoded(picture(4, height=24, width=24), kind)
    step = 1 if kind == "JPEG" else max(1, len(data) // 150)
    outcomes = [outcome(data[:length]) for length in range(0, len(data), step)]
    assert set(outcomes) <= {"decoded", "empty", "truncated", "unreadable", "wrong_type"}
    assert decoded(data).shape == (24, 24, 3)
    strict = IngestOptions(keep_truncated=False)
    with strict_pillow(), pytest.raises(BadRow) as caught:
        decode_file(data[: len(data) * 2 // 3], strict)
    assert caught.value.reason in {"truncated", "unreadable"}


def test_no_flipped_byte_crashes() -> None:
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = bytearray(encoded(picture(5, height=16, width=16), kind))
        for place in generator.integers(0, len(data), 150):
            damaged = data.copy()
            damaged[place] ^= int(generator.integers(1, 256))
            assert outcome(bytes(damaged)) in {"decoded", *REASONS}


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (6, 8, 4)])
def test_rows_of_arrays(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if shape[-1] == 4:
        array[..., 3] = 255
    row = decode_array(array, IngestOptions(side_px_max=64))
    pixels = np.frombuffer(row.pixels, np.uint8).reshape(6, 8, 3)
    channels = array[:, :, None] if array.ndim == 2 else array[:, :, :3]
    assert np.array_equal(pixels, np.broadcast_to(channels, (6, 8, 3)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "uint32", "float16", "float64"])
def test_rows_of_arrays_of_any_numbers(dtype: str) -> None:
    array = np.random.default_rng(2).uniform(-90, 90, (6, 8)).astype(dtype)
    row = decode_array(array, IngestOptions())
    if dtype == "bool":
        expected = np.repeat(array.astype(np.uint8)[:, :, None] * 255, 3, axis=2).tobytes()
    elif dtype in {"int8", "int16"}:
        expected = (array.astype(int) + 32_768).astype("<u2").tobytes()
    else:
        expected = array.astype("<f8").tobytes()
    assert row.pixels == expected


def test_reading_leaves_the_callers_settings_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decoded(encoded(picture(1)))
    assert before == Image.MAX_IMAGE_PIXELS
    assert Image.open(io.BytesIO(encoded(picture(1)))).size == (12, 12)

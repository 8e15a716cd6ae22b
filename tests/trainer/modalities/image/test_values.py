"""Values of more than 8 bits: storage, mapping and reports.

The oracles are numpy's percentiles and formula, tifffile's and imagecodecs' own writers.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.support.data.ingest import Ingested, ingested
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.packed import image_of
from trainer.modalities.image.values import percentile, seen_in
from trainer.schema.errors import DataError

CPU = torch.device("cpu")
DEEP = np.rint(np.arange(256) * 4095 / 255).astype(np.uint16).reshape(16, 16)
TURNED = DEEP[::-1].copy()
Array = NDArray[Any]


def png(values: Array) -> bytes:
    """Grey or colour of 16 bits."""
    return bytes(imagecodecs.png_encode(values))


def tiff(values: Array, **how: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **how)
    return buffer.getvalue()


def pgm(values: Array) -> bytes:
    height, width = values.shape
    return b"P5\n# a comment\n%d %d\n4095\n" % (width, height) + values.astype(">u2").tobytes()


def pgm_text(values: Array) -> bytes:
    height, width = values.shape
    return f"P2 {width} {height} 4095\n{' '.join(map(str, values.ravel()))}\n".encode()


def three(values: Array) -> Array:
    return np.stack([values] * 3, axis=-1)


FILES: dict[str, Callable[[Array], bytes]] = {
    "grey.png": png,
    "colour.png": lambda values: png(three(values)),
    "grey.tif": tiff,
    "packed.tif": lambda values: tiff(values, compression="lzw", predictor=True),
    "colour.tif": lambda values: tiff(three(values), photometric="rgb"),
    "planes.tif": lambda values: tiff(
        np.stack([values] * 3), photometric="rgb", planarconfig="separate"
    ),
    "grey.pgm": pgm,
    "text.pgm": pgm_text,
}


def folder(path: Path, files: dict[str, bytes]) -> Path:
    """Files under `path`."""
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def source_values(made: Ingested) -> Array:
    """Values of all rows in the source's own units, [N, H, W, C]."""
    mapping = made.facts.values
    assert mapping is not None
    images = np.stack([image_of(made.pack, row) for row in range(made.pack.rows)])
    found: Array = images.astype(np.float64) * mapping.scale + mapping.offset
    return found


def seen(made: Ingested, *, window: str = "dataset", rows: int | None = None) -> Array:
    """Return the network's input for all rows without normalisation, [N, H, W, C]."""
    made.pack.facts = seen_in(made.pack, window)
    side = made.pack.size(0)[0]
    channels = made.pack.channels
    spec = ResolvedViewsSpec(
        side_px=side, crop_scale=(1.0, 1.0), blur_p=0.0, evaluation_crop="square"
    )
    views = ImageAugmenter(spec, mean=(0.0,) * channels, std=(1.0,) * channels, device=CPU)
    with PackLoader(made.pack, device=CPU) as source:
        batch = source.raw(torch.arange(rows or made.pack.rows))
    found: Array = views.center_crop(batch).permute(0, 2, 3, 1).numpy()
    return found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("value_range", ["auto", "full", "0:4095", "860:1260"])
def test_deep_files_keep_their_values(name: str, value_range: str, tmp_path: Path) -> None:
    make = FILES[name]
    files = {f"a-{name}": make(DEEP), f"b-{name}": make(TURNED)}
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out", range=value_range)
    colour = "colour" in name or "planes" in name
    assert (made.facts.dtype, made.facts.channels) == ("uint16", 3 if colour else 1)
    for row, values in enumerate((DEEP, TURNED)):
        assert all(
            np.array_equal(plane, values) for plane in image_of(made.pack, row).transpose(2, 0, 1)
        )
    values = source_values(made)
    low, high = map(float, np.percentile(values, [0.1, 99.9]))
    if value_range != "auto":
        low, high = (860.0, 1260.0) if value_range == "860:1260" else (0.0, 4095.0)
    assert made.facts.values is not None
    assert (made.facts.values.low, made.facts.values.high) == pytest.approx((low, high), abs=1e-9)
    expected = ((values - low) / (high - low)).clip(0, 1)
    assert np.abs(seen(made) - expected).max() <= 1e-6
    assert made.facts.mean == pytest.approx(expected.mean((0, 1, 2)), rel=1e-9)
    assert made.facts.std == pytest.approx(expected.std((0, 1, 2)), rel=1e-9)
    levels = np.rint(seen(made)[0, :, :, 0] * 255)
    if value_range in {"full", "0:4095"}:
        assert np.array_equal(levels, np.rint(DEEP * 255.0 / 4095))
        assert len(np.unique(levels)) == 256


def test_a_zip_a_folder_and_an_array_have_one_range(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    images = draw.integers(900, 1400, (6, 12, 10), dtype=np.uint16)
    np.save(tmp_path / "rows.npy", images)
    plain = folder(tmp_path / "in", {f"{n}.png": png(image) for n, image in enumerate(images)})
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(plain.iterdir()):
            archive.write(path, path.name)
    sources = (plain, tmp_path / "in.zip", tmp_path / "rows.npy")
    made = [ingested(path, tmp_path / f"out{n}").facts for n, path in enumerate(sources)]
    low, high = np.percentile(images, [0.1, 99.9])
    for facts in made:
        assert facts.values is not None
        assert (facts.values.low, facts.values.high) == pytest.approx((low, high), abs=1e-9)
        assert facts.mean == made[0].mean


@pytest.mark.parametrize(("scale", "offset"), [(1, 40_000), (3, 0), (13, 11), (15, 4000)])
def test_views_do_not_change_with_the_unit_of_values(
    scale: int, offset: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(scale)
    images = draw.normal(2000, 300, (5, 16, 16)).clip(0, 4000).astype(np.uint16)
    for name, values in (("one", images), ("other", images * scale + offset)):
        np.save(tmp_path / f"{name}.npy", values.astype(np.uint16))
    spec = ResolvedViewsSpec(
        side_px=12,
        crop_scale=(0.3, 1.0),
        blur_p=0.5,
        saturation=0.0,
        hue=0.0,
        evaluation_crop="square",
    )
    made = []
    for name in ("one", "other"):
        pack = ingested(tmp_path / f"{name}.npy", tmp_path / name).pack
        views = ImageAugmenter(spec, mean=pack.facts.mean, std=pack.facts.std, device=CPU)
        with PackLoader(pack, device=CPU) as source:
            rows = torch.arange(5)
            made.append(views.views(source.raw(rows), rows, seed=1, epoch=0, view=0))
    # In [0, 1]: the std of the normalisation only stretches the rounding.
    assert float((made[0] - made[1]).abs().max()) * pack.facts.std[0] <= 1e-6


def test_few_levels_are_no_duplicates_and_are_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 121, (8, 16, 16), dtype=np.uint16)
    images[0, 0, 0] = 120
    files = {f"{n}.png": png(image) for n, image in enumerate(images)}
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out")
    assert (made.facts.rows, made.facts.duplicates) == (8, 0)
    (warning,) = [one for one in made.facts.warnings if one.code == "little_range"]
    assert "values reach 120 of 65535" in warning.message


def test_a_job_may_state_a_window_of_its_own(tmp_path: Path) -> None:
    files = {"a.png": png(DEEP), "b.png": png(TURNED)}
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out")
    expected = ((source_values(made) - 100) / 800).clip(0, 1)
    assert np.abs(seen(made, window="100:900") - expected).max() <= 1e-6
    assert made.pack.facts.mean == pytest.approx(expected.mean((0, 1, 2)), rel=1e-9)
    assert made.pack.facts.std == pytest.approx(expected.std((0, 1, 2)), rel=1e-9)


def test_narrow_content_names_an_option_and_a_range(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    images = draw.normal(1000, 20, (6, 20, 20))
    images[:, :2] = draw.uniform(0, 6000, (6, 2, 20))
    np.save(tmp_path / "narrow.npy", images.clip(0).astype(np.uint16))
    made = ingested(tmp_path / "narrow.npy", tmp_path / "out")
    (warning,) = [one for one in made.facts.warnings if one.code == "narrow_content"]
    found = warning.hint.split("--range ")[1].split(",")[0]
    low, high = map(int, found.split(":"))
    quarter, three_quarters = np.percentile(images, [25, 75])
    assert low < quarter < three_quarters < high < 1500
    again = ingested(tmp_path / "narrow.npy", tmp_path / "again", range=found)
    assert not [one for one in again.facts.warnings if one.code == "narrow_content"]
    wide = draw.integers(0, 6000, (6, 20, 20))
    np.save(tmp_path / "wide.npy", wide.astype(np.uint16))
    even = ingested(tmp_path / "wide.npy", tmp_path / "even").facts.warnings
    assert not [one for one in even if one.code == "narrow_content"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint32", "float16"])
def test_wide_values_are_mapped_from_the_smallest_to_the_largest(
    dtype: str, tmp_path: Path
) -> None:
    draw = np.random.default_rng(2)
    images = draw.uniform(0, 255, (4, 9, 9)).astype(dtype)
    np.save(tmp_path / "rows.npy", images)
    made = ingested(tmp_path / "rows.npy", tmp_path / "out", range="full")
    assert made.facts.rows == 4
    assert made.facts.values is not None
    low, high = float(images.min()), float(images.max())
    assert (made.facts.values.low, made.facts.values.high) == pytest.approx((low, high))
    assert made.facts.values.source_dtype == dtype
    step = (high - low) / 65_535
    assert np.abs(source_values(made)[..., 0] - images).max() <= 0.5001 * step


def test_non_finite_pixels_become_the_minimum_and_are_counted(tmp_path: Path) -> None:
    images = np.random.default_rng(4).uniform(10, 3000, (3, 8, 8)).astype(np.float32)
    images[0, :2] = np.nan
    images[1, 0, 0], images[1, 0, 1] = np.inf, -np.inf
    images[2, 0, 0] = np.finfo(np.float32).min  # how float GeoTIFFs mark missing data
    sound = np.isfinite(images) & (np.abs(images) < 1e30)
    finite = images[sound]
    files = {f"{n}.tif": tiff(image) for n, image in enumerate(images)}
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out")
    assert made.facts.values is not None
    assert made.facts.values.non_finite == 19
    assert made.facts.values.value_min == pytest.approx(float(finite.min()))
    assert made.facts.values.value_max == pytest.approx(float(finite.max()))
    values = source_values(made)[..., 0]
    assert np.allclose(values[~sound], finite.min(), atol=0.05)
    assert "non_finite" in [one.code for one in made.facts.warnings]


def test_signed_values_with_and_without_air_are_seen_alike(tmp_path: Path) -> None:
    """Files of one scanner: one map for all, whatever a single file holds."""
    draw = np.random.default_rng(5)
    body = draw.integers(-100, 300, (4, 10, 10)).astype(np.int16)
    body[::2, :3] = -1000
    files = {f"{n}.tif": tiff(image) for n, image in enumerate(body)}
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out", range="-1000:1000")
    assert np.array_equal(source_values(made)[..., 0], body)
    assert np.abs(seen(made)[..., 0] - (body + 1000.0) / 2000).max() <= 1e-6


def test_files_of_another_depth_than_most_are_reported(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    files = {f"{n}.png": png(DEEP + n) for n in range(5)}
    for n in range(2):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (16, 16), dtype=np.uint8)).save(buffer, "PNG")
        files[f"eight{n}.png"] = buffer.getvalue()
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out")
    assert made.report() == {"eight0.png": "other_depth", "eight1.png": "other_depth"}
    assert (made.facts.rows, made.facts.bad_files, made.facts.dtype) == (5, 2, "uint16")
    assert "8" in made.report_lines()[0]["detail"]
    assert sorted(path.name for path in made.pack.folder.iterdir() if path.is_dir()) == []


def test_white_is_zero_is_turned(tmp_path: Path) -> None:
    files = {
        "a.tif": tiff(DEEP, photometric="miniswhite"),
        "b.tif": tiff(TURNED, photometric="miniswhite"),
    }
    made = ingested(folder(tmp_path / "in", files), tmp_path / "out")
    assert np.array_equal(image_of(made.pack, 0)[..., 0], 65_535 - DEEP)


def test_eight_bits_are_what_they_were(tmp_path: Path) -> None:
    images = np.random.default_rng(7).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", images)
    made = ingested(tmp_path / "rows.npy", tmp_path / "out")
    assert np.array_equal(made.pack.grid(), images)
    assert made.facts.values is not None
    assert (made.facts.values.rule, made.facts.values.low, made.facts.values.high) == (
        "identity",
        0.0,
        255.0,
    )
    assert made.facts.mean == pytest.approx(images.mean((0, 1, 2)) / 255, rel=1e-12)
    window = ingested(tmp_path / "rows.npy", tmp_path / "window", range="50:150")
    expected = ((images - 50.0) / 100).clip(0, 1)
    assert np.abs(seen(window) - expected).max() <= 1e-6


def test_deep_values_are_not_kept_as_jpeg(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": png(DEEP), "b.png": png(TURNED)})
    with pytest.raises(DataError, match="cannot be kept as JPEG") as refused:
        ingested(source, tmp_path / "out", store_as="jpeg")
    assert "pixels" in refused.value.next_step
    assert not (tmp_path / "out" / "pack").exists()


def test_percentiles_are_numpys() -> None:
    draw = np.random.default_rng(8)
    for size in (1, 2, 7, 1000, 4321):
        values = draw.integers(0, 65_536, size)
        counts = np.bincount(values, minlength=65_536)
        for q in (0.0, 0.1, 25.0, 50.0, 99.9, 100.0):
            assert percentile(counts, q) == pytest.approx(np.percentile(values, q), abs=1e-9)


def test_a_large_deep_image_is_shrunk_on_its_own_values(tmp_path: Path) -> None:
    big = np.random.default_rng(9).integers(0, 60_000, (40, 60), dtype=np.uint16)
    source = folder(tmp_path / "in", {"a.png": png(big), "b.png": png(big[::-1].copy())})
    made = ingested(source, tmp_path / "out", side_px_max=20)
    small = Image.fromarray(big.astype(np.float32)).resize((30, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(image_of(made.pack, 0)[..., 0], np.rint(np.asarray(small)))

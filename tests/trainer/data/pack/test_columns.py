"""Columns of a pack: what comes with rows, packs of version 1, and columns of later versions."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.support.data.ingest import image_writer, ingested
from tests.support.data.tiny_pack import blobs
from trainer.data.labels.classes import ClassNames
from trainer.data.pack.format import Pack
from trainer.data.readers.items import Item, split_named
from trainer.data.spec import USUAL, IngestOptions
from trainer.modalities.image.decode import decode_array
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.packed import counts_of
from trainer.schema.errors import DataError
from trainer.schema.events import DatasetFacts

OLD_FACTS = {
    "rows": 2,
    "bad_files": 0,
    "duplicates": 0,
    "labels": ["a", "b"],
    "side_px_min": 2,
    "side_px_median": 2,
    "side_px_max": 3,
    "same_size": True,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.1, 0.1, 0.1],
    "size_bytes": 100,
    "stored_as": "pixels",
    "sha256": "0" * 64,
    "sides_sent": None,
}


def old_pack(folder: Path) -> NDArray[np.uint8]:
    """Write a pack as version 1 did, byte for byte: two rows of 2 x 3 px."""
    folder.mkdir()
    pixels = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    row = np.dtype([("o", "<u8"), ("h", "<u2"), ("w", "<u2"), ("l", "<i4"), ("n", "<u8")])
    index = np.array([(0, 2, 3, 0, 0), (18, 2, 3, 1, 6)], row)
    files = {
        "pixels.u8": pixels.tobytes(),
        "index.bin": index.tobytes(),
        "names.txt": b"a.png\nb.png\n",
        "report.jsonl": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    meta = {"version": 1, "facts": OLD_FACTS, "files": sums}
    (folder / "pack.json").write_text(json.dumps(meta))
    return pixels


def items(count: int) -> list[tuple[Item, Decoded]]:
    """Rows of every split, in two sequences, some with a time and a mask."""
    images, _ = blobs(count, side_px=8, classes=2)
    rows = []
    for number, image in enumerate(images):
        item = Item(
            f"{number}.png",
            1,
            content=lambda image=image: image,  # type: ignore[misc]
            split=("train", "val", "test", None)[number % 4],
            sequence=None if number == 1 else f"camera {number % 2}",
            time=None if number % 2 else number / 2,
        )
        mask = bytes([number]) * 64 if number >= 2 else None
        row = decode_array(image, USUAL)
        rows.append((item, replace(row, mask=mask)))
    return rows


def written(tmp_path: Path, count: int = 8) -> Pack:
    writer = image_writer(tmp_path / "pack")
    rows = items(count)
    writer.add(rows[:3])
    writer.add(rows[3:])
    writer.finish(ClassNames())
    writer.publish()
    return Pack.open(tmp_path / "pack")


def test_a_pack_of_version_1_opens(tmp_path: Path) -> None:
    pixels = old_pack(tmp_path / "old")
    pack = Pack.open(tmp_path / "old")
    assert np.array_equal(pack.grid(), pixels)
    assert pack.labels.tolist() == [0, 1]
    assert (pack.name(1), pack.channels, pack.split, pack.mask(0)) == ("b.png", 3, None, None)
    assert pack.rows_of("train").tolist() == [0, 1]
    assert pack.rows_of("test").tolist() == []
    expected = [np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)]
    assert np.array_equal(counts_of(pack), expected)


def test_columns_come_back(tmp_path: Path) -> None:
    pack = written(tmp_path)
    assert pack.facts.splits == {"train": 4, "val": 2, "test": 2}
    assert pack.rows_of("train").tolist() == [0, 3, 4, 7]
    assert pack.rows_of("val").tolist() == [1, 5]
    assert pack.rows_of("test").tolist() == [2, 6]
    names = pack.sequence_names()
    assert pack.sequence is not None
    told = [None if number < 0 else names[number] for number in pack.sequence]
    assert told == ["camera 0", None, *(f"camera {n % 2}" for n in range(2, 8))]
    assert pack.time is not None
    assert pack.time[::2].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert np.isnan(pack.time[1::2]).all()
    for row in range(8):
        mask = pack.mask(row)
        assert mask is not None
        assert mask.shape == (8, 8)
        assert set(mask.ravel().tolist()) == {row if row >= 2 else 0}
    assert pack.masked_rows().tolist() == [2, 3, 4, 5, 6, 7]
    assert pack.facts.masked_rows == 6


def test_pack_json_names_the_columns(tmp_path: Path) -> None:
    meta = json.loads((written(tmp_path).folder / "pack.json").read_text())
    assert (meta["version"], meta["modality"]) == (2, "image")
    assert set(meta["columns"]) == {
        *("pixels", "label", "split", "sequence", "time", "mask", "masked")
    }
    assert meta["columns"]["pixels"]["dtype"] == "uint8"
    assert meta["columns"]["pixels"]["channels"] == 3


def test_columns_and_facts_of_later_versions_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path).folder / "pack.json"
    meta = json.loads(path.read_text())
    meta["columns"]["depth"] = {"file": "depth.f32"}
    meta["facts"]["later"] = {"x": 1}
    path.write_text(json.dumps(meta))
    assert Pack.open(path.parent).facts.rows == 8


def test_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    path = written(tmp_path).folder / "pack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with pytest.raises(DataError, match="version 1 or 2"):
        Pack.open(path.parent)


def test_a_cut_column_is_damage(tmp_path: Path) -> None:
    folder = written(tmp_path).folder
    (folder / "split.u8").write_bytes(b"\0" * 7)
    with pytest.raises(DataError, match=r"split\.u8 does not hold 8 rows"):
        Pack.open(folder)


def test_rows_without_columns_write_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", blobs(4, side_px=8, classes=2)[0])
    made = ingested(tmp_path / "x.npy", tmp_path / "out")
    names = {path.name for path in made.pack.folder.iterdir()}
    assert not names & {"split.u8", "time.f64", "sequence.i4", "mask.u8", "masked.u8"}
    assert made.facts.splits == {}


@pytest.mark.parametrize(
    ("word", "split"),
    [("Train", "train"), ("validation", "val"), (" TEST ", "test"), ("holdout", None)],
)
def test_splits_have_several_names(word: str, split: str | None) -> None:
    assert split_named(word) == split


def test_facts_of_older_versions_parse() -> None:
    facts = DatasetFacts.model_validate_json(json.dumps(OLD_FACTS))
    assert (facts.channels, facts.dtype, facts.values, facts.splits) == (3, "uint8", None, {})


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_constant_alpha_is_none(mode: str, alpha: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(alpha)
    colours = draw.integers(0, 256, (2, 8, 8, len(mode) - 1), dtype=np.uint8)
    folder = tmp_path / "in"
    folder.mkdir()
    for number, pixels in enumerate(colours):
        bands = [*pixels.transpose(2, 0, 1), np.full((8, 8), alpha, np.uint8)]
        image = Image.merge(mode, [Image.fromarray(np.ascontiguousarray(band)) for band in bands])
        image.save(folder / f"{number}.png")
    made = ingested(folder, tmp_path / "out")
    assert np.array_equal(made.pack.grid(), np.broadcast_to(colours, (2, 8, 8, 3)))


def test_real_alpha_lies_on_white_or_is_dropped(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (2, 8, 8, 4), dtype=np.uint8)
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    white = ingested(folder, tmp_path / "white").pack.grid().astype(float)
    share = pixels[..., 3:] / 255.0
    assert np.abs(white - (pixels[..., :3] * share + 255 * (1 - share))).max() <= 1.0
    dropped = ingested(folder, tmp_path / "dropped", alpha="drop").pack.grid()
    assert np.array_equal(dropped, pixels[..., :3])
    four = ingested(folder, tmp_path / "four", channels=4).pack.grid()
    assert np.array_equal(four, pixels)


def test_a_fourth_channel_of_an_array_is_no_alpha(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    made = ingested(tmp_path / "x.npy", tmp_path / "out")
    assert np.array_equal(made.pack.grid(), images[..., :3])
    assert "channels_left_out" in [one.code for one in made.facts.warnings]
    kept = ingested(tmp_path / "x.npy", tmp_path / "kept", channels=4)
    assert np.array_equal(kept.pack.grid(), images)


@pytest.mark.parametrize("geo", [False, True])
def test_infrared_is_no_alpha(geo: bool, tmp_path: Path) -> None:
    """A fourth band that is called alpha: the tags of a GeoTIFF, or values unlike alpha's."""
    draw = np.random.default_rng(2)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        image = draw.integers(1, 255, (8, 8, 4), dtype=np.uint8)
        tags = [(34_735, "H", 4, (1, 1, 0, 0), True)] if geo else []
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer, image, photometric="rgb", extrasamples=["unassalpha"], extratags=tags
        )
        (folder / f"{number}.tif").write_bytes(buffer.getvalue())
    made = ingested(folder, tmp_path / "out")
    expected = [tifffile.imread(path)[..., :3] for path in sorted(folder.iterdir())]
    assert np.array_equal(made.pack.grid(), expected)


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_arrays_of_many_channels_are_rows(channels: int, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 9, 8, channels), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    made = ingested(tmp_path / "x.npy", tmp_path / "out", channels=channels)
    assert np.array_equal(made.pack.grid(), images)
    flat = images.reshape(-1, channels) / 255
    assert made.facts.mean == pytest.approx(flat.mean(0), rel=1e-9)
    assert made.facts.std == pytest.approx(flat.std(0), rel=1e-9)


def test_grey_of_colour_is_that_of_pillow(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        image = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image.save(folder / f"{number}.png")
    made = ingested(folder, tmp_path / "out", channels=1)
    expected = [np.asarray(Image.open(path).convert("L")) for path in sorted(folder.iterdir())]
    assert np.array_equal(made.pack.grid()[..., 0], expected)


def test_files_of_other_channels_are_reported(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    for name, channels in (("a", 5), ("b", 5), ("c", 5), ("d", 6)):
        row = decode_array(
            draw.integers(0, 256, (8, 8, channels), dtype=np.uint8), IngestOptions(channels="auto")
        )
        assert row.channels == channels
        (tmp_path / name).write_bytes(row.pixels)
    writer = image_writer(tmp_path / "pack")
    for name, channels in (("a", 5), ("b", 5), ("c", 5), ("d", 6)):
        pixels = (tmp_path / name).read_bytes()
        item = Item(name, 1, content=lambda: b"")
        writer.add([(item, Decoded(pixels, 8, 8, 8, channels=channels, dtype="uint8"))])
    assert [(bad.name, bad.reason) for bad in writer.leave_out_others()] == [
        ("d", "other_channels")
    ]
    assert writer.finish(ClassNames()).channels == 5

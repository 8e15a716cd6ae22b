"""The images that all arms share."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.image_sets import balanced_subset, class_name, prepare_images
from benchmarks.data.noise_pack import write_noise_pack
from tests.support.data.images import png, write_zip
from trainer.data.pack.format import Pack
from trainer.modalities.image.packed import image_of


def test_a_zip_becomes_folders_and_a_pack_of_the_same_pixels(tmp_path: Path) -> None:
    files = {f"train/{name}/{row}.png": png(10 * row + len(name)) for name in ("cat", "horse")
             for row in range(4)}  # fmt: skip
    files["readme.txt"] = b"no image"
    archive = write_zip(tmp_path / "pets.zip", files)
    images = prepare_images(archive, tmp_path / "out", rows=6)
    pack = Pack.open(images.pack)
    laid_out = sorted(images.folder.rglob("*.png"))
    assert images.rows == pack.rows == len(laid_out) == 6
    assert pack.facts.labels == ("cat", "horse")
    assert np.bincount(pack.labels).tolist() == [3, 3]
    for row, path in enumerate(laid_out):
        assert np.array_equal(np.asarray(Image.open(path)), image_of(pack, row))


def test_rows_are_taken_from_each_class_in_turn() -> None:
    names = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "c/1"]
    assert balanced_subset(names, 5) == ["a/1", "a/2", "b/1", "b/2", "c/1"]
    assert balanced_subset(names, None) == names
    assert balanced_subset(names, 100) == names


def test_a_folder_that_is_no_plain_name_is_not_used() -> None:
    assert class_name("train/cat/1.png") == "cat"
    assert class_name("1.png") == class_name("../1.png") == class_name(".git/1.png") == "all"


def test_a_big_pack_is_a_pack(tmp_path: Path) -> None:
    for same_size in (True, False):
        write_noise_pack(tmp_path / str(same_size), 70_001, side_px=2, same_size=same_size)
        pack = Pack.open(tmp_path / str(same_size))
        assert pack.rows == 70_001
        assert pack.name(70_000) == "000070000.png"
        assert pack.size(70_000) == (2, 2)
        assert pack.size(69_999) == ((2, 2) if same_size else (1, 2))

"""Photographs of tiles: which show one tile, and how they are split."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.suites.breadth import tile_masks
from benchmarks.suites.breadth.jobs import Experiment
from benchmarks.suites.breadth.lab import Lab
from benchmarks.suites.breadth.networks import encoder_alone, evaluated
from benchmarks.suites.breadth.tile_photos import (
    ARCHIVE,
    Photos,
    at_random,
    by_tile,
    kind_of,
    photos,
)
from trainer.data.pack.format import Pack

GOOD, DAMAGED, EXPOSURES = 8, 6, 3


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Work on tiles of blocks at three exposures each, whose names do not tell which is which."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        for tile in range(GOOD + DAMAGED):
            pixels = np.kron(draw.integers(60, 120, (8, 6)), np.ones((16, 16), np.int64))
            kind = "free" if tile < GOOD else "crack"
            mask = np.zeros(pixels.shape, bool)
            if kind == "crack":
                mask[40:90, 20:70] = True
                pixels[mask] = 20
            for exposure in range(1, EXPOSURES + 1):
                own = f"{kind}/exp{exposure}_num_{draw.integers(10**6)}"
                photo = Image.fromarray((pixels * (0.5 + 0.5 * exposure)).astype(np.uint8))
                archive.writestr(f"images/{own}.jpg", encoded(photo, "jpeg"))
                if kind == "crack":
                    archive.writestr(f"masks/{own}.png", encoded(Image.fromarray(mask), "png"))
    return Lab(data=tmp_path, work=tmp_path / "work", threads=1)


def encoded(image: Image.Image, form: str) -> bytes:
    image.save(out := io.BytesIO(), form)
    return out.getvalue()


def test_photographs_of_one_tile_are_found(lab: Lab) -> None:
    found = photos(lab)
    assert len(found.names) == (GOOD + DAMAGED) * EXPOSURES
    _, counts = np.unique(found.tiles, return_counts=True)
    assert counts.tolist() == [EXPOSURES] * (GOOD + DAMAGED)
    for tile in np.unique(found.tiles):
        own = np.array(found.names)[found.tiles == tile]
        assert len({name.rpartition("/")[2].partition("_")[0] for name in own}) == EXPOSURES
        assert len({kind_of(name) for name in own}) == 1


def test_no_photograph_of_an_asked_tile_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.suites.breadth.tile_photos.TRAINED_ROWS", 11)
    kinds = ["free"] * 20 + ["crack"] * 4
    names = tuple(f"images/{kind}/exp1_num_{row}.jpg" for row, kind in enumerate(kinds))
    tiles = np.array([row // 3 for row in range(24)])  # tile 6 has both kinds
    parts = by_tile(Photos(names, tiles))
    tile_of = dict(zip(names, tiles.tolist(), strict=True))
    trained, test = ({tile_of[name] for name in part} for part in parts)
    assert len(parts.trained) == 11
    assert not trained & test
    assert trained < set(range(6))
    assert {6, 7} <= test
    # Of the last tile that was trained on, the photograph beyond the number is in neither part.
    assert len(parts.test) == 12

    drawn = at_random(Photos(names, tiles))
    assert len(drawn.trained) == 11
    assert all(kind_of(name) == "free" for name in drawn.trained)
    assert sorted([*drawn.trained, *drawn.test]) == sorted(names)


def test_cells_of_masks_are_classified(lab: Lab) -> None:
    train, test = tile_masks.masked_images(lab)
    packs = [Pack.open(images.pack) for images in (train, test)]
    assert [pack.rows for pack in packs] == [4 * EXPOSURES, 2 * EXPOSURES]
    assert [len(pack.masked_rows()) for pack in packs] == [4 * EXPOSURES, 2 * EXPOSURES]
    spec = Experiment("masked", {**tile_masks.SEGMENTATION, "batch_rows": 8}, train, test).spec(0)
    signals = evaluated(encoder_alone(spec), spec, train, test)
    assert signals["mean_iou"] > 0.5

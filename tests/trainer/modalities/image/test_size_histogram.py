"""Sizes of images, counted at the ingest, against numpy's counting of the files themselves."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.support.data.images import encoded, write_zip
from tests.support.data.ingest import ingested
from trainer.data.pack.format import Pack
from trainer.modalities.image.size_histogram import EDGES_PX, SideCounter
from trainer.schema.events import DatasetFacts, SideHistogram

SIZES = [(8, 8), (9, 11), (47, 48), (48, 64), (64, 48), (95, 96), (96, 96), (300, 420), (700, 400)]


def pictures() -> dict[str, bytes]:
    """An image of each size, of a colour that no other has; the large ones as JPEG."""
    files = {}
    for number, (width, height) in enumerate(SIZES):
        image = Image.new("RGB", (width, height), (width % 256, height % 256, number))
        name = f"{number}.jpg" if width > 256 else f"{number}.png"
        files[name] = encoded(image, "JPEG" if width > 256 else "PNG")
    return files


def expected(sides: list[int]) -> SideHistogram:
    counts, edges = np.histogram(sides, bins=EDGES_PX)
    held = np.flatnonzero(counts)
    first, last = int(held[0]), int(held[-1])
    return SideHistogram(
        edges_px=tuple(edges[first : last + 2].astype(int).tolist()),
        rows=tuple(counts[first : last + 1].tolist()),
    )


def test_the_bins_are_even_on_a_logarithmic_scale_and_hold_every_image() -> None:
    steps = np.diff(np.log2(EDGES_PX))[1:]
    assert steps.min() > 0.41
    assert steps.max() < 0.59
    assert EDGES_PX[0] == 1
    longest_of_any_format = 2**31 - 1
    assert longest_of_any_format < EDGES_PX[-1]


@pytest.mark.parametrize("seed", range(5))
def test_any_sides_are_counted_as_numpy_counts_them(seed: int) -> None:
    drawn = np.exp(np.random.default_rng(seed).uniform(0.0, math.log(5000), 1000)).astype(int)
    sides = [int(side) for side in [*drawn, *EDGES_PX[:-1], *(edge - 1 for edge in EDGES_PX[1:])]]
    counter = SideCounter()
    for side_px in sides[seed * 100 :]:
        counter.add(side_px)
    assert counter.histogram() == expected(sides[seed * 100 :])


def test_an_ingest_tells_how_large_the_files_were_before_they_were_shrunk(tmp_path: Path) -> None:
    files = pictures()
    files |= {"copy.png": files["3.png"], "cut.jpg": files["7.jpg"][:200]}
    source = write_zip(tmp_path / "set.zip", files)
    made = ingested(source, tmp_path / "out", side_px_max=32)
    assert made.facts.rows == len(SIZES)
    assert max(min(made.pack.size(row)) for row in range(made.pack.rows)) == 32
    assert made.facts.sides_sent == expected([min(size) for size in SIZES])
    assert made.pack.facts == made.facts


def test_rows_of_an_array_are_counted_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (7, 40, 30, 3), np.uint8)
    np.save(tmp_path / "rows.npy", rows)
    made = ingested(tmp_path / "rows.npy", tmp_path / "out", side_px_max=16)
    assert made.facts.sides_sent == SideHistogram(edges_px=(24, 32), rows=(7,))


def test_a_pack_from_before_is_read_and_holds_the_same_rows(tmp_path: Path) -> None:
    made = ingested(write_zip(tmp_path / "set.zip", pictures()), tmp_path / "out")
    meta_file = made.pack.folder / "pack.json"
    meta = json.loads(meta_file.read_text())
    del meta["facts"]["sides_sent"]
    meta_file.write_text(json.dumps(meta))
    old = Pack.open(made.pack.folder).facts
    assert old.sides_sent is None
    assert old.sha256 == made.facts.sha256
    assert old == made.facts.model_copy(update={"sides_sent": None})


def test_facts_travel_as_json_with_and_without_it() -> None:
    facts = {
        **{"rows": 2, "bad_files": 0, "duplicates": 0, "same_size": True, "size_bytes": 9},
        **{"side_px_min": 8, "side_px_median": 8, "side_px_max": 8, "sha256": "a" * 64},
        **{"mean": [0.5, 0.5, 0.5], "std": [0.1, 0.1, 0.1]},
    }
    assert DatasetFacts.model_validate(facts).sides_sent is None
    told = facts | {"sides_sent": {"edges_px": [8, 12], "rows": [2]}}
    read = DatasetFacts.model_validate_json(json.dumps(told))
    assert DatasetFacts.model_validate_json(read.model_dump_json()) == read
    with pytest.raises(ValidationError):
        DatasetFacts.model_validate(facts | {"sides_sent": {"edges_px": [8], "rows": []}})

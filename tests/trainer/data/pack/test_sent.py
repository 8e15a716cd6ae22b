"""Facts that a pack keeps of the files that its rows were shrunk from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data.ingest import run_ingest
from trainer.data.pack.format import Pack
from trainer.data.spec import IngestSpec
from trainer.modalities.image.ingest import INGEST
from trainer.modalities.image.loader import PackLoader

TURNED = 6
"""EXIF: turn it by a quarter."""


def packed(folder: Path, **fields: object) -> Pack:
    spec = {"dataset_id": "ds", "source": str(folder / "files"), **fields}
    run_ingest(
        IngestSpec.model_validate(spec),
        modality=INGEST,
        out=folder,
        emit=lambda _event: None,
        should_stop=lambda: False,
    )
    return Pack.open(folder / "pack")


def save(path: Path, size: tuple[int, int], *, seed: int, orientation: int = 1) -> None:
    """Write noise of (width, height)."""
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_pack_keeps_the_sizes_of_files_that_it_shrank(tmp_path: Path, suffix: str) -> None:
    """Large JPEGs are decoded at a fraction of their size, which is not what was sent."""
    files = tmp_path / "files"
    save(files / f"0.{suffix}", (669, 934), seed=0)
    save(files / f"1.{suffix}", (1201, 703), seed=1)
    save(files / f"2.{suffix}", (40, 30), seed=2)
    save(files / f"3.{suffix}", (801, 401), seed=3, orientation=TURNED)
    pack = packed(tmp_path, side_px_max=64)
    rows = np.array([3, 0, 1, 2])
    expected = [[801, 401], [934, 669], [703, 1201], [30, 40]]
    found = pack.sent(rows)
    assert found is not None
    assert found.tolist() == expected
    with PackLoader(pack, device=torch.device("cpu")) as source:
        images = source.whole(torch.from_numpy(rows))
    assert images.sent is not None
    assert images.sent.tolist() == expected
    assert pack.facts.stored_side_px == 64
    assert json.loads((pack.folder / "pack.json").read_text())["columns"]["sent"]


def test_rows_as_large_as_their_files_need_no_sizes(tmp_path: Path) -> None:
    for row in range(2):
        save(tmp_path / "files" / f"{row}.png", (40, 30), seed=row)
    pack = packed(tmp_path)
    assert pack.sent(np.array([0, 1])) is None
    assert "sent" not in json.loads((pack.folder / "pack.json").read_text())["columns"]
    assert pack.facts.stored_side_px == 256

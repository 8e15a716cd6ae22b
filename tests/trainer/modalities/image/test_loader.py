"""Images of a pack, one after another and on a device."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.data.images import picture, png, write_zip
from tests.support.data.ingest import ingested
from trainer.data.pack.format import Pack
from trainer.modalities.image import loader as source_module
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.packed import gather_into

CPU = torch.device("cpu")
SIZES = [(10 + n % 7, 25 - n % 5) for n in range(40)]


def pack_of(tmp_path: Path, sizes: list[tuple[int, int]]) -> Pack:
    files = {f"{n:03d}.png": png(n, height=h, width=w) for n, (h, w) in enumerate(sizes)}
    return ingested(write_zip(tmp_path / "x.zip", files), tmp_path / "out").pack


def expected_rows(sizes: list[tuple[int, int]], rows: list[int]) -> NDArray[np.uint8]:
    """Canvases laid out by hand, [B, H, W, 3]."""
    height, width = (max(sizes[row][axis] for row in rows) for axis in (0, 1))
    images = np.zeros((len(rows), height, width, 3), np.uint8)
    for target, row in zip(images, rows, strict=True):
        h, w = sizes[row]
        target[:h, :w] = np.asarray(picture(row, height=h, width=w))
    return images


@pytest.mark.parametrize("sizes", [SIZES, [(12, 9)] * 40], ids=["mixed", "same size"])
def test_rows_are_padded_to_the_largest_of_a_batch(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    pack = pack_of(tmp_path, sizes)
    rows = [3, 39, 0, 3, 17]
    expected = expected_rows(sizes, rows)
    images = np.zeros_like(expected)
    gather_into(images, pack, np.array(rows))
    assert np.array_equal(images, expected)
    assert pack.sizes(np.array(rows)).tolist() == [list(sizes[row]) for row in rows]
    assert pack.size(17) == sizes[17]
    assert pack.name(17) == "017.png"


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
@pytest.mark.parametrize("sizes", [SIZES, [(12, 9)] * 40], ids=["mixed", "same size"])
def test_row_source_gives_the_rows_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[tuple[int, int]],
    resident_bytes: int,
    prefetch: bool,
) -> None:
    """Resident or gathered, ahead or not, the right batch ahead or another."""
    monkeypatch.setattr(source_module, "RESIDENT_BYTES_CPU", resident_bytes)
    with PackLoader(pack_of(tmp_path, sizes), device=CPU) as source:
        for rows in ([5, 1, 39], [0], [7] * 9, [2, 3]):
            if prefetch:
                source.prefetch(torch.tensor(rows if rows != [0] else [8, 9]))
            images = source.raw(torch.tensor(rows))
            pixels = images.pixels.permute(0, 2, 3, 1).numpy()
            assert np.array_equal(pixels, expected_rows(sizes, rows))
            assert images.heights.tolist() == [sizes[row][0] for row in rows]
            assert images.widths.tolist() == [sizes[row][1] for row in rows]


def test_rows_cost_no_private_memory(tmp_path: Path) -> None:
    """On a CPU a resident pack is a memory map: only the batch is private memory."""
    np.save(
        tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (400, 128, 128), np.uint8)
    )
    pack = ingested(tmp_path / "x.npy", tmp_path / "out").pack
    before = _private_bytes()
    with PackLoader(pack, device=CPU) as source:
        for start in range(0, 400, 8):
            source.raw(torch.arange(start, start + 8))
        assert _private_bytes() - before < len(pack.stored) // 2


def _private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    dirty = next(line for line in lines if line.startswith("Private_Dirty"))
    return int(dirty.split()[1]) * 1024

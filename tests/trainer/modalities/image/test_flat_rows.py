"""Rows of many sizes without padding: views of them are those of padded rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.data.ingest import ingested
from tests.support.data.tiny_pack import write_pack
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.data.pack.format import Pack
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import Corner, FlatImages, PaddedImages
from trainer.modalities.image.host_batch import FlatLayout, PaddedLayout, Share
from trainer.modalities.image.loader import PackLoader

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
PLAIN = (0.0, 255.0)
SIZES = [(24, 90), (90, 24), (31, 40), (40, 31), (24, 24), (7, 25), (25, 7), (1, 3), (57, 57)]
CLOSE = 2e-5
"""Sums of float32 in another order."""


def alone(work: Any, rows: int) -> None:  # noqa: ANN401
    work(slice(0, rows))


def in_parts(work: Any, rows: int) -> None:  # noqa: ANN401
    for row in range(rows):
        work(slice(row, row + 1))


def random_images(sizes: list[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def pack_of(folder: Path, sizes: list[tuple[int, int]]) -> Pack:
    write_pack(folder / "pack", random_images(sizes))
    return Pack.open(folder / "pack")


def batches(
    pack: Pack, rows: list[int], *, share: Share = alone, bounds: tuple[float, float] = PLAIN
) -> tuple[PaddedImages, FlatImages]:
    """The same rows in both layouts."""
    chosen = np.array(rows)
    padded = PaddedLayout(pack, device=CPU, bounds=bounds)
    flat = FlatLayout(pack, device=CPU, bounds=bounds)
    return padded.moved(padded.gather(chosen, share)), flat.moved(flat.gather(chosen, share))


def spec_of(**changes: object) -> ResolvedViewsSpec:
    settings = {
        "side_px": 16,
        "flip_p": 0.5,
        "jitter_p": 0.8,
        "grey_p": 0.2,
        "blur_p": 0.5,
        "crop_scale": (0.2, 1.0),
        "evaluation_crop": "resize",
    }
    return ResolvedViewsSpec.model_validate(settings | changes)


def augmenter(spec: ResolvedViewsSpec, channels: int = 3) -> ImageAugmenter:
    return ImageAugmenter(spec, mean=(0.5,) * channels, std=(0.2,) * channels, device=CPU)


@pytest.mark.parametrize("share", [alone, in_parts])
def test_windows_hold_the_pixels_of_padded_rows_bit_for_bit(tmp_path: Path, share: Share) -> None:
    pack, rows = pack_of(tmp_path, SIZES), [5, 0, 1, 8, 1, 7]
    padded, flat = batches(pack, rows, share=share)
    assert torch.equal(flat.heights, padded.heights)
    assert torch.equal(flat.widths, padded.widths)
    corner = Corner(flat.heights // 3, flat.widths // 2)
    window, begins = flat.window(slice(None), lambda: corner, (90, 90))
    assert begins is corner
    for row, (top, left) in enumerate(zip(*corner, strict=True)):
        height, width = int(flat.heights[row] - top), int(flat.widths[row] - left)
        expected = padded.pixels[row, :, top : top + height, left : left + width].float()
        assert torch.equal(window[row, :, :height, :width], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop_ratio": (0.3, 3.0), "crop_scale": (0.05, 1.0)},
        {"side_px": 40, "crop_scale": (0.9, 1.0)},
        {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)},
    ],
    ids=["usual", "all ratios", "enlarged", "whole"],
)
def test_random_views_are_those_of_padded_rows(tmp_path: Path, changes: dict[str, object]) -> None:
    padded, flat = batches(pack_of(tmp_path, SIZES), list(range(len(SIZES))) * 8)
    rows = torch.arange(len(flat.heights))
    views = augmenter(spec_of(**changes))
    for one, other in zip(
        views.pair(padded, rows, seed=1, epoch=2),
        views.pair(flat, rows, seed=1, epoch=2),
        strict=True,
    ):
        assert float((one - other).abs().max()) < CLOSE


@pytest.mark.parametrize("crop", ["resize", "square"])
@pytest.mark.parametrize("side_px", [8, 16, 40])
def test_plain_views_are_those_of_padded_rows(tmp_path: Path, crop: str, side_px: int) -> None:
    padded, flat = batches(pack_of(tmp_path, SIZES), list(range(len(SIZES))))
    views = augmenter(spec_of(evaluation_crop=crop, side_px=side_px))
    difference = (views.center_crop(padded) - views.center_crop(flat)).abs().max()
    assert float(difference) < CLOSE


def test_16_bits_and_two_channels_are_those_of_padded_rows(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(40_000, 9_000, (30, 20, 36, 2))
    np.save(tmp_path / "rows.npy", values.clip(0, 65_535).astype("uint16"))
    pack = ingested(tmp_path / "rows.npy", tmp_path / "out", channels=2).pack
    padded, flat = batches(pack, [3, 0, 29], bounds=(1_000.5, 60_000.0))
    views = augmenter(spec_of(), channels=2)
    made = [views.views(each, torch.arange(3), seed=1, epoch=0, view=1) for each in (padded, flat)]
    assert float((made[0] - made[1]).abs().max()) < CLOSE


def test_batches_of_a_pack_have_one_shape_which_a_graph_needs(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    pack = pack_of(tmp_path, [(int(h), int(w)) for h, w in draw.integers(8, 33, (400, 2))])
    layout = FlatLayout(pack, device=CPU, bounds=PLAIN)
    shuffled = draw.permutation(400).reshape(-1, 40)
    held = [layout.moved(layout.gather(rows, alone)) for rows in shuffled]
    assert len({tuple(part.shape for part in images.tensors()) for images in held}) == 1
    assert len({images.box_px((0.75, 4 / 3)) for images in held}) == 1
    needed_px = max(int((images.heights * images.widths).sum()) for images in held)
    assert needed_px <= len(held[0].pixels) < 1.5 * needed_px


def test_a_batch_of_the_largest_rows_finds_room(tmp_path: Path) -> None:
    pack = pack_of(tmp_path, [(8, 8)] * 90 + [(32, 32)] * 10)
    layout = FlatLayout(pack, device=CPU, bounds=PLAIN)
    largest = layout.moved(layout.gather(np.arange(90, 100), alone))
    usual = layout.moved(layout.gather(np.arange(10), alone))
    assert len(largest.pixels) >= 10 * 32 * 32 > len(usual.pixels)
    window, _ = largest.window(
        slice(None), lambda: Corner(*torch.zeros(2, 10, dtype=torch.int64)), (32, 32)
    )
    images = np.stack(
        [np.asarray(image) for image in random_images([(8, 8)] * 90 + [(32, 32)] * 10)[90:]]
    )
    assert np.array_equal(window.permute(0, 2, 3, 1).numpy(), images)


def test_one_wide_and_one_tall_row_pad_no_other_on_their_way_to_a_gpu(tmp_path: Path) -> None:
    """Padded they would fill 64 x 64 pixels each."""
    rows = 32
    pack = pack_of(tmp_path, [(16, 64), (64, 16), *[(16, 20)] * (rows - 2)])
    padded_bytes, stored_bytes = rows * 64 * 64 * 3, len(pack.stored)
    with pretend_gpu() as gpu, PackLoader(pack, device=GPU, threads=0) as loader:
        images = loader.raw(torch.arange(rows))
        assert isinstance(images, FlatImages)
        sent_bytes = sum(copy.size_bytes for copy in gpu.counts.to_device)
        assert all(copy.is_pinned for copy in gpu.counts.to_device)
        assert gpu.counts.waits == []
    assert stored_bytes <= sent_bytes < 2 * stored_bytes < padded_bytes / 5


def test_an_evaluation_leaves_the_batches_of_training_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch is gathered once, in whatever order batches are asked for."""
    gathered: list[list[int]] = []
    whole = PaddedLayout.gather

    def noted(self: PaddedLayout, rows: NDArray[np.int64], share: Share) -> Any:  # noqa: ANN401
        gathered.append(rows.tolist())
        return whole(self, rows, share)

    monkeypatch.setattr(PaddedLayout, "gather", noted)
    training = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    evaluation = [torch.tensor([4, 5]), torch.tensor([6, 7])]
    with PackLoader(pack_of(tmp_path, SIZES), device=CPU, threads=2) as loader:
        for rows in training:
            loader.prefetch(rows)
        loader.whole(evaluation[0])
        loader.prefetch(evaluation[1])
        loader.whole(evaluation[1])
        for rows in training:
            loader.prefetch(rows)
            assert loader.raw(rows).heights.tolist() == [SIZES[row][0] for row in rows]
    assert sorted(gathered) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_batches_that_nobody_asks_for_are_let_go(tmp_path: Path) -> None:
    with PackLoader(pack_of(tmp_path, SIZES), device=CPU, threads=1) as loader:
        for row in range(8):
            loader.prefetch(torch.tensor([row]))
        assert len(loader._prefetched) == 3
        assert loader.raw(torch.tensor([0])).widths.tolist() == [90]

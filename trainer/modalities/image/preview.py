"""A picture of what training will see: some rows, each beside two of its views."""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from trainer.data.pack.format import PREVIEW, Pack
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.spec import resolved_views
from trainer.modalities.image.values import pictured
from trainer.rng.philox import permuted_rows
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

PREVIEW_ROWS = 8
CELL_PX = 112
GAP_PX = 4
BACKGROUND = (24, 24, 27)


def write_preview(folder: Path, *, seed: int) -> None:
    """Write `preview.png` into the folder of a pack: 8 lines of row, view 1, view 2.

    The views are those of a job that leaves every setting out. Raises SpecError where there is no
    such job.
    """
    pack = Pack.open(folder)
    spec = resolved_views(resolve(JobSpec(dataset="preview"), pack.facts).spec)
    total = min(PREVIEW_ROWS, pack.rows)
    rows = permuted_rows(torch.arange(total), total=pack.rows, seed=seed, epoch=0)
    device = torch.device("cpu")
    # Without normalisation views are images.
    channels = pack.channels
    views = ImageAugmenter(spec, mean=(0.0,) * channels, std=(1.0,) * channels, device=device)
    with PackLoader(pack, device=device) as source:
        images = source.raw(rows)
        columns = [
            views.center_crop(source.whole(rows)),
            *views.pair(images, rows, seed=seed, epoch=0),
        ]
    path = folder / PREVIEW
    with path.open("wb") as file:
        _grid(columns).save(file, format="PNG")
        file.flush()
        os.fsync(file.fileno())


def _grid(columns: list[Tensor]) -> Image.Image:
    """Draw columns of images, each float32 [rows, C, side, side] in [0, 1]."""
    step = CELL_PX + GAP_PX
    size = (len(columns) * step + GAP_PX, len(columns[0]) * step + GAP_PX)
    grid = Image.new("RGB", size, BACKGROUND)
    for x, column in enumerate(columns):
        levels = (column.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
        for y, pixels in enumerate(levels.permute(0, 2, 3, 1).contiguous()):
            image = Image.fromarray(pictured(pixels.numpy(), (0.0, 255.0)))
            # Small pixels are shown as they are, large views are shrunk smoothly.
            small = image.width <= CELL_PX
            resampling = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
            cell = image.resize((CELL_PX, CELL_PX), resampling)
            grid.paste(cell, (GAP_PX + x * step, GAP_PX + y * step))
    return grid

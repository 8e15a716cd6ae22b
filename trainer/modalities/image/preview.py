"""Pictures of what training will see: some rows, each beside two of its views."""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from trainer.data.pack.format import PREVIEW, PREVIEW_UNLIKE, Pack
from trainer.modalities.image.augment.normalization import Normalization
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.random_views import ImageViews, views_of
from trainer.modalities.image.spec import resolved_views
from trainer.modalities.image.values import pictured
from trainer.rng.philox import permuted_rows
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

PREVIEW_ROWS = 8
CELL_PX = 112
GAP_PX = 4
BACKGROUND = (24, 24, 27)
JOBS = {
    PREVIEW: JobSpec(dataset="preview"),
    PREVIEW_UNLIKE: JobSpec.model_validate({"dataset": "preview", "method": {"name": "byol"}}),
}
"""Picture -> the job whose views it shows."""


def write_preview(folder: Path, *, seed: int) -> None:
    """Write `preview.png` into the folder of a pack: 8 lines of row, view 1, view 2.

    The views are those of a job that leaves every setting out. `preview-unlike.png` has those of
    BYOL, whose second views have settings of their own. Raises SpecError where there is no such
    job.
    """
    pack = Pack.open(folder)
    total = min(PREVIEW_ROWS, pack.rows)
    rows = permuted_rows(torch.arange(total), total=pack.rows, seed=seed, epoch=0)
    with PackLoader(pack, device=torch.device("cpu")) as source:
        images, whole = source.raw(rows), source.whole(rows)
        for name, job in JOBS.items():
            views = _views(pack, job)
            pair = views.random(images, rows, seed=seed, epoch=0)
            _save(
                _grid([views.plain(whole).pixels, *(view.pixels for view in pair)]), folder / name
            )


def _views(pack: Pack, job: JobSpec) -> ImageViews:
    """Return the views of a job. Without normalization they are images."""
    settings = resolved_views(resolve(job, pack.facts).spec)
    plain = Normalization((0.0,) * pack.channels, (1.0,) * pack.channels)
    return views_of(settings, plain, device=torch.device("cpu"))


def _save(image: Image.Image, path: Path) -> None:
    with path.open("wb") as file:
        image.save(file, format="PNG")
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

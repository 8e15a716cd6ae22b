"""Two views of each row of a batch, from image files that are decoded once for both."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.arms.views_pack import two_views, views_of  # first, before torch is loaded

import numpy as np  # isort: skip
import torch

from benchmarks.arms.interface import Arm, Block, Setup
from trainer.data.canvas import Canvas
from trainer.data.images import Decoded, decode_file, strict_pillow
from trainer.data.pack import Pack

SIDE_PX_MAX = 256
"""As the ingest has it."""

Batch = tuple[torch.Tensor, list[Future[Decoded]]]


class FileViews:
    """Random batches without end; the next one is decoded by threads meanwhile."""

    def __init__(self, pool: ThreadPoolExecutor, setup: Setup) -> None:
        self._pool, self._batch_rows = pool, setup.batch_rows
        self._files = sorted(path for path in Path(setup.images).rglob("*.*") if path.is_file())
        self._views = views_of(Pack.open(Path(setup.pack)), setup)
        self._draw = torch.Generator().manual_seed(0)
        self._next = self._begun()

    def steps(self, count: int) -> Block:
        """So many batches."""
        pixel = 0.0
        began_s = time.perf_counter()
        for number in range(count):
            (rows, decoding), self._next = self._next, self._begun()
            canvas = canvas_of([each.result() for each in decoding])
            pixel = two_views(self._views, canvas, rows, number)
        return Block(time.perf_counter() - began_s, pixel)

    def _begun(self) -> Batch:
        rows = torch.randint(len(self._files), (self._batch_rows,), generator=self._draw)
        return rows, [self._pool.submit(decoded, self._files[row]) for row in rows.tolist()]


def decoded(path: Path) -> Decoded:
    """The file as a row of a pack."""
    return decode_file(path.read_bytes(), side_px_max=SIDE_PX_MAX)


def canvas_of(rows: Sequence[Decoded]) -> Canvas:
    """Rows in the corners of equal rectangles, as `Pack.gather` lays them out."""
    heights, widths = (torch.tensor([getattr(row, side) for row in rows]) for side in SIDES)
    canvas = np.zeros((len(rows), int(heights.max()), int(widths.max()), 3), np.uint8)
    for place, row in zip(canvas, rows, strict=True):
        image = np.frombuffer(row.pixels, np.uint8).reshape(row.height, row.width, 3)
        place[: row.height, : row.width] = image
    return Canvas(torch.from_numpy(canvas).permute(0, 3, 1, 2), heights, widths)


SIDES = ("height", "width")


@contextmanager
def opened(setup: Setup) -> Iterator[Arm]:
    """The views. As many threads as others have workers."""
    with strict_pillow(), ThreadPoolExecutor(max(1, setup.workers)) as pool:
        yield FileViews(pool, setup)
        pool.shutdown(cancel_futures=True)

"""Batches of rows in host memory, and their way to the device: padded, or one after another."""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.data.pack.format import Pack
from trainer.modalities.image.batch import FlatImages, Images, PaddedImages, Room
from trainer.modalities.image.packed import gather_flat, gather_into

FLAT_SIGMAS = 6.0
"""Standard deviations above the mean that the fixed shape of flat batches has room for."""

Rows = NDArray[np.int64]
Share = Callable[[Callable[[slice], None], int], None]
"""Calls a function for parts of so many rows, in threads or not, and waits for all."""


class HostBatch(NamedTuple):
    """Rows in host memory, pinned for a GPU."""

    pixels: Tensor
    """As in `PaddedImages`, but [B, H, W, C]; or as in `FlatImages`."""
    table: Tensor
    """int64 [B, 2]: heights and widths; of flat rows [B, 3], with their starts in front."""


class Layout(Protocol):
    """A way to lay the rows of a batch out in memory."""

    def gather(self, rows: Rows, share: Share) -> HostBatch:
        """Copy rows from the pack."""

    def moved(self, batch: HostBatch) -> Images:
        """Return a batch on the device. The host does not wait."""


class PaddedLayout:
    """Layout of rows of one size, and of all rows on a CPU."""

    def __init__(self, pack: Pack, *, device: torch.device, bounds: tuple[float, float]) -> None:
        self._pack, self._device, self._bounds = pack, device, bounds

    def gather(self, rows: Rows, share: Share) -> HostBatch:
        """Copy rows to the corners of equal rectangles, zeroed before unless rows fill them."""
        pack = self._pack
        sizes = pack.sizes(rows)
        height, width = (int(side) for side in sizes.max(axis=0))
        make = torch.empty if pack.is_uniform else torch.zeros
        pixels = make(
            (len(rows), height, width, pack.channels),
            dtype=bits_of(pack),
            pin_memory=self._device.type == "cuda",
        )
        images = pixels.numpy().view(pack.dtype)
        share(lambda part: gather_into(images[part], pack, rows[part]), len(rows))
        return HostBatch(pixels, torch.from_numpy(sizes.astype(np.int64)))

    def moved(self, batch: HostBatch) -> PaddedImages:
        """Return a batch on the device."""
        pixels = batch.pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        heights, widths = send_together((batch.table,), self._device)[0].unbind(1)
        return PaddedImages(pixels, heights, widths, self._bounds)


class FlatLayout:
    """Layout of rows of many sizes: one after another, in a buffer whose length batches share."""

    def __init__(self, pack: Pack, *, device: torch.device, bounds: tuple[float, float]) -> None:
        self._pack, self._device, self._bounds = pack, device, bounds
        sizes = pack.sizes(np.arange(pack.rows))
        areas = sizes.astype(np.int64).prod(axis=1)
        height, width = (int(side) for side in sizes.max(axis=0))
        self._room = Room(height, width, shorter=int(sizes.min(axis=1).max()))
        self._mean_px, self._std_px = float(areas.mean()), float(areas.std())
        self._largest_px = int(areas.max())

    def gather(self, rows: Rows, share: Share) -> HostBatch:
        """Copy rows, each where the one before it ends."""
        pack = self._pack
        sizes = pack.sizes(rows).astype(np.int64)
        ends = sizes.prod(axis=1).cumsum()
        starts = np.concatenate([[0], ends[:-1]])
        pixels = torch.empty(
            (self._length_px(len(rows), int(ends[-1])), pack.channels),
            dtype=bits_of(pack),
            pin_memory=self._device.type == "cuda",
        )
        flat = pixels.numpy().view(pack.dtype)
        share(lambda part: gather_flat(flat, starts[part], pack, rows[part]), len(rows))
        return HostBatch(pixels, torch.from_numpy(np.column_stack([starts, sizes])))

    def moved(self, batch: HostBatch) -> FlatImages:
        """Return a batch on the device."""
        pixels = batch.pixels.to(self._device, non_blocking=True)
        starts, heights, widths = send_together((batch.table,), self._device)[0].unbind(1)
        return FlatImages(pixels, starts, heights, widths, self._room, self._bounds)

    def _length_px(self, rows: int, total_px: int) -> int:
        """Return the length of the buffer of a batch: what nearly all batches of its rows need.

        Rounded up by an eighth at most; a batch that is longer has one that is rounded up alike.
        """
        usual_px = rows * self._mean_px + FLAT_SIGMAS * self._std_px * sqrt(rows)
        needed_px = max(total_px, int(min(usual_px, rows * self._largest_px)))
        unit_px = 1 << max(0, needed_px.bit_length() - 4)
        return -(-needed_px // unit_px) * unit_px


def bits_of(pack: Pack) -> torch.dtype:
    """Return the type of tensors: int16 for 16 bits, as torch cannot gather uint16 on a CPU."""
    return torch.int16 if pack.dtype.itemsize == 2 else torch.uint8

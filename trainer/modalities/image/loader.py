"""Rows of a pack on the device that trains.

A pack that fits, with rows of one size, is copied to the device once. Otherwise threads gather
batches from the memory map into pinned memory while the previous batch trains; JPEG rows are
decoded there, once for both views.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.data.pack.format import Pack
from trainer.modalities.image.batch import PaddedImages
from trainer.modalities.image.packed import gather_into
from trainer.modalities.image.values import bounds_of
from trainer.schema.events import ValueMapping
from trainer.timing.phase_timer import NullTimer

RESIDENT_BYTES_CPU = 2 * 1024**3
RESIDENT_SHARE_GPU = 0.2
GATHER_THREADS = 4
"""Threads enough to keep up with a GPU from a memory map on a local disk."""

Gathered = tuple[Tensor, Tensor]
"""[B, H, W, C] as in `PaddedImages`, and int64 [B, 2], in host memory."""


class PackLoader:
    """Loads rows as `PaddedImages`. Call `close`, or use it in a `with`, to end its threads."""

    def __init__(
        self,
        pack: Pack,
        *,
        device: torch.device,
        threads: int = GATHER_THREADS,
        seen: ValueMapping | None = None,
    ) -> None:
        """`threads` prefetch rows; 0 copies each batch in the calling thread.

        `seen` gives the source values that are mapped to 0 and 1; None uses the pack's own range.
        """
        self.pack = pack
        self._bounds = bounds_of(pack.facts, seen)
        self.threads = threads
        self.device = device
        self.timer = NullTimer()
        """Clock of the run that trains on it."""
        self._resident = _resident(pack, device)
        self._prefetched: tuple[Tensor, Future[Gathered]] | None = None
        # One thread leads, the others copy: a leader in the same pool could wait for itself.
        self._leader = ThreadPoolExecutor(1, thread_name_prefix="gather-lead")
        self._copiers = ThreadPoolExecutor(max(1, threads), thread_name_prefix="gather")

    @property
    def is_resident(self) -> bool:
        """True if all rows are on the device, so that none is ever gathered."""
        return self._resident is not None

    def raw(self, rows: Tensor, *, sent: Tensor | None = None) -> PaddedImages:
        """Return the rows of an int64 tensor [B], on the device; waits for what was prefetched.

        `sent` are the same rows on the device, if they are there already.
        """
        if self._resident is not None:
            return self._from_resident(rows if sent is None else sent)
        with self.timer.phase("gather"):
            gathered = self._gathered(rows)
        return self._moved(*gathered)

    def whole(self, rows: Tensor) -> PaddedImages:
        """Return the rows with the sizes of their files, for `ImageAugmenter.center_crop`."""
        images, sent = self.raw(rows), self.pack.sent(_as_numpy(rows))
        if sent is None:
            return images
        (sizes,) = send_together((torch.from_numpy(sent),), self.device)
        return replace(images, sent=sizes)

    def prefetch(self, rows: Tensor) -> None:
        """Begin to gather the rows that the next call of `raw` will ask for."""
        if self._resident is None and self.threads:
            host_rows = rows.cpu()
            gathered = self._leader.submit(self._gather, _as_numpy(host_rows))
            self._prefetched = (host_rows, gathered)

    def close(self) -> None:
        """End the threads. The source can still be read if the pack is resident."""
        self._leader.shutdown(cancel_futures=True)
        self._copiers.shutdown(cancel_futures=True)

    def __enter__(self) -> "PackLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _from_resident(self, rows: Tensor) -> PaddedImages:
        assert self._resident is not None
        if rows.device.type == "cpu":
            with self.timer.phase("copy"):
                (rows,) = send_together((rows,), self.device)
        with self.timer.phase("gather"):
            pixels = self._resident.index_select(0, rows).permute(0, 3, 1, 2)
        height, width = self._resident.shape[1:3]
        sizes = torch.full_like(rows, height), torch.full_like(rows, width)
        return PaddedImages(pixels, *sizes, self._bounds)

    def _gathered(self, rows: Tensor) -> Gathered:
        """Return the prefetched rows if they are these, else gather them."""
        ahead, self._prefetched = self._prefetched, None
        if ahead is not None and torch.equal(ahead[0], rows.cpu()):
            return ahead[1].result()
        return self._gather(_as_numpy(rows))

    def _gather(self, rows: NDArray[np.int64]) -> Gathered:
        sizes = self.pack.sizes(rows)
        height, width = (int(side) for side in sizes.max(axis=0))
        pixels = torch.zeros(
            (len(rows), height, width, self.pack.channels),
            dtype=_bits(self.pack),
            pin_memory=self.device.type == "cuda",
        )
        self._copy(pixels.numpy().view(self.pack.dtype), rows)
        return pixels, torch.from_numpy(sizes.astype(np.int64))

    def _copy(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        if not self.threads:
            gather_into(images, self.pack, rows)
            return
        parts = np.array_split(np.arange(len(rows)), min(self.threads, len(rows)))
        copies = [
            self._copiers.submit(gather_into, images[part[0] : part[-1] + 1], self.pack, rows[part])
            for part in parts
        ]
        for copy in copies:
            copy.result()

    def _moved(self, pixels: Tensor, sizes: Tensor) -> PaddedImages:
        with self.timer.phase("copy"):
            pixels = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            heights, widths = send_together((sizes,), self.device)[0].unbind(1)
        return PaddedImages(pixels, heights, widths, self._bounds)


def _as_numpy(rows: Tensor) -> NDArray[np.int64]:
    array: NDArray[np.int64] = rows.cpu().numpy()
    return array


def _resident(pack: Pack, device: torch.device) -> Tensor | None:
    """Return all rows on the device, [rows, height, width, C], if they have one size and fit."""
    if not pack.is_uniform or len(pack.stored) > _resident_bytes_max(device):
        return None
    # On a CPU this maps the file instead of reading it, so the rows cost no private memory.
    flat = torch.from_file(
        str(pack.rows_path),
        shared=False,
        size=len(pack.stored) // pack.dtype.itemsize,
        dtype=_bits(pack),
    )
    return flat.to(device).view(pack.rows, *pack.size(0), pack.channels)


def _bits(pack: Pack) -> torch.dtype:
    """Return the type of tensors: int16 for 16 bits, as torch cannot gather uint16 on a CPU."""
    return torch.int16 if pack.dtype.itemsize == 2 else torch.uint8


def _resident_bytes_max(device: torch.device) -> int:
    if device.type != "cuda":
        return RESIDENT_BYTES_CPU
    return int(torch.cuda.get_device_properties(device).total_memory * RESIDENT_SHARE_GPU)

"""Rows of a pack on the device that trains.

A pack that fits, with rows of one size, is copied to the device once. Otherwise threads gather
batches from the memory map into pinned memory while earlier batches train; JPEG rows are decoded
there, once for both views. To a GPU rows of many sizes travel without padding.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.data.pack.format import Pack
from trainer.modalities.cost import RESIDENT_SHARE_GPU
from trainer.modalities.image.batch import Images, PaddedImages
from trainer.modalities.image.host_batch import (
    FlatLayout,
    HostBatch,
    Layout,
    PaddedLayout,
    bits_of,
)
from trainer.modalities.image.values import bounds_of
from trainer.schema.events import ValueMapping
from trainer.timing.phase_timer import NullTimer

RESIDENT_BYTES_CPU = 2 * 1024**3
GATHER_THREADS = 4
"""Threads enough to keep up with a GPU from a memory map on a local disk."""

PREFETCHED_MAX = 3
"""Batches that are gathered ahead: two of training, and one of an evaluation."""


class PackLoader:
    """Loads rows as `Images`. Call `close`, or use it in a `with`, to end its threads."""

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
        is_flat = device.type == "cuda" and not pack.is_uniform
        layout = FlatLayout if is_flat else PaddedLayout
        self._layout: Layout = layout(pack, device=device, bounds=self._bounds)
        self._prefetched: dict[bytes, Future[HostBatch]] = {}
        """By their rows, oldest first."""
        # One thread leads, the others copy: a leader in the same pool could wait for itself.
        self._leader = ThreadPoolExecutor(1, thread_name_prefix="gather-lead")
        self._copiers = ThreadPoolExecutor(max(1, threads), thread_name_prefix="gather")

    @property
    def is_resident(self) -> bool:
        """True if all rows are on the device, so that none is ever gathered."""
        return self._resident is not None

    def raw(self, rows: Tensor, *, sent: Tensor | None = None) -> Images:
        """Return the rows of an int64 tensor [B], on the device; waits for what was prefetched.

        `sent` are the same rows on the device, if they are there already.
        """
        if self._resident is not None:
            return self._from_resident(rows if sent is None else sent)
        with self.timer.phase("gather"):
            gathered = self._gathered(rows)
        with self.timer.phase("copy"):
            return self._layout.moved(gathered)

    def whole(self, rows: Tensor) -> Images:
        """Return the rows with the sizes of their files, for `ImageAugmenter.center_crop`."""
        images, sent = self.raw(rows), self.pack.sent(_as_numpy(rows))
        if sent is None:
            return images
        (sizes,) = send_together((torch.from_numpy(sent),), self.device)
        return replace(images, sent=sizes)

    def prefetch(self, rows: Tensor) -> None:
        """Begin to gather rows that a coming call of `raw` will ask for."""
        host_rows = _as_numpy(rows)
        key = host_rows.tobytes()
        if self._resident is not None or not self.threads or key in self._prefetched:
            return
        if len(self._prefetched) == PREFETCHED_MAX:
            self._prefetched.pop(next(iter(self._prefetched))).cancel()
        self._prefetched[key] = self._leader.submit(self._layout.gather, host_rows, self._share)

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

    def _gathered(self, rows: Tensor) -> HostBatch:
        """Return the rows, which may have been prefetched."""
        host_rows = _as_numpy(rows)
        ahead = self._prefetched.pop(host_rows.tobytes(), None)
        return self._layout.gather(host_rows, self._share) if ahead is None else ahead.result()

    def _share(self, work: Callable[[slice], None], rows: int) -> None:
        """Call `work` for parts of the rows, each in a thread, and wait for all."""
        if not self.threads:
            work(slice(0, rows))
            return
        edges = np.linspace(0, rows, min(self.threads, rows) + 1).astype(int)
        parts = [slice(begin, end) for begin, end in pairwise(edges)]
        for copy in [self._copiers.submit(work, part) for part in parts]:
            copy.result()


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
        dtype=bits_of(pack),
    )
    return flat.to(device).view(pack.rows, *pack.size(0), pack.channels)


def _resident_bytes_max(device: torch.device) -> int:
    if device.type != "cuda":
        return RESIDENT_BYTES_CPU
    return int(torch.cuda.get_device_properties(device).total_memory * RESIDENT_SHARE_GPU)

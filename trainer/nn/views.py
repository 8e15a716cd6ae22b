"""Views of rows and the batch that a method learns from: named tuples of tensors, and no more.

A modality makes views and its towers read them; a method passes them on without looking inside. A
captured step copies their tensors, and a thread may move them.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Pixels(NamedTuple):
    """Augmented images."""

    pixels: Tensor
    """float32 [B, C, S, S], normalized."""

    def narrowed(self) -> "Pixels":
        """Return the pixels in bfloat16 and channels_last, which convolutions are fast with."""
        # Narrow first: on a CPU both at once takes twice as long.
        return Pixels(self.pixels.to(torch.bfloat16).contiguous(memory_format=torch.channels_last))


View = Pixels
"""Union of the modalities' views."""


class Batch(NamedTuple):
    """Training batch of one step, on the device."""

    views: tuple[View, ...]
    """Views of each row: as many as the method reads."""
    rows: Tensor
    """Dataset rows, int64 [B]: they name the random numbers."""
    identities: Tensor
    """int64 [B], equal where neither may be the other's negative: the row, or its label.

    Where labels are learned, the number of the label."""
    drawn: tuple[Tensor, ...] = ()
    """Random numbers of the pretexts, int64 [B] each."""


def tensors_of(batch: Batch) -> tuple[Tensor, ...]:
    """Return all tensors of a batch in a fixed order; identities only where they are not rows."""
    views = tuple(tensor for view in batch.views for tensor in view)
    own = () if batch.identities is batch.rows else (batch.identities,)
    return (*views, batch.rows, *own, *batch.drawn)


def rebuilt(like: Batch, tensors: tuple[Tensor, ...]) -> Batch:
    """Return a batch like another, of other tensors: the inverse of `tensors_of`."""
    rest = list(tensors)
    views = tuple(type(view)(*(rest.pop(0) for _ in view)) for view in like.views)
    rows = rest.pop(0)
    identities = rows if like.identities is like.rows else rest.pop(0)
    return Batch(views, rows, identities, tuple(rest))


def joined_views(views: tuple[View, ...], *, runs: int = 1) -> View:
    """Return views of one kind as one view, for each run of rows those of the first view first.

    `runs` divides the rows.
    """
    return type(views[0])(*(_joined(tensors, runs) for tensors in zip(*views, strict=True)))


def _joined(tensors: tuple[Tensor, ...], runs: int) -> Tensor:
    parts = [tensor.chunk(runs) for tensor in tensors]
    return torch.cat([part for run in zip(*parts, strict=True) for part in run])

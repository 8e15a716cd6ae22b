"""NegativeQueue: the keys of earlier batches, which serve as negatives."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.nn.negative_mask import NegativeMask

RANDOM_SLOT = -1
"""Row id of a slot that still holds a random vector. It counts as a negative."""
EMPTY = -2
"""Row id of a slot that was never filled. It does not count."""


class NegativeQueue(nn.Module):
    """A ring of the newest K keys, each with the dataset row that it came from.

    The batch need not divide K and may be larger than K. All state is in buffers, so that a
    checkpoint holds it, and every write is an index computed on the device: no host sync.
    Source: He et al. 2020, section 3.2 (arXiv:1911.05722).
    """

    keys: Tensor
    rows: Tensor
    pushed_at: Tensor
    pointer: Tensor
    fill: Tensor
    pushes: Tensor

    def __init__(
        self,
        capacity_rows: int,
        width: int,
        *,
        start: Literal["random", "empty"],
        seed: int,
    ) -> None:
        """`capacity_rows` is K, `width` the embedding's. `random` starts with K unit vectors."""
        super().__init__()
        self.capacity_rows = capacity_rows
        self.starts_empty = start == "empty"
        generator = torch.Generator().manual_seed(seed)
        keys = F.normalize(torch.randn(capacity_rows, width, generator=generator), dim=1)
        owner = EMPTY if self.starts_empty else RANDOM_SLOT
        self.register_buffer("keys", torch.zeros_like(keys) if self.starts_empty else keys)
        self.register_buffer("rows", torch.full((capacity_rows,), owner))
        self.register_buffer("pushed_at", torch.zeros(capacity_rows, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("fill", torch.zeros((), dtype=torch.int64))
        self.register_buffer("pushes", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Tensor, rows: Tensor) -> None:
        """Write `keys` [B, width] of dataset rows `rows` [B] over the oldest slots."""
        count = keys.shape[0]
        kept = min(count, self.capacity_rows)
        offsets = torch.arange(count - kept, count, device=keys.device)
        slots = (self.pointer + offsets) % self.capacity_rows
        newest = keys[count - kept :].to(self.keys.dtype)
        self.keys.index_copy_(0, slots, newest)
        self.rows.index_copy_(0, slots, rows[count - kept :])
        self.pushed_at.index_copy_(0, slots, self.pushes.expand(kept))
        self.pushes.add_(1)
        self.pointer.add_(count).remainder_(self.capacity_rows)
        self.fill.add_(count).clamp_(max=self.capacity_rows)

    def mask_for(self, rows: Tensor | None) -> NegativeMask | None:
        """Return the mask of negatives for queries of dataset rows `rows` [B]; None for no mask.

        `rows` None leaves a row's own older keys visible.
        """
        if rows is None and not self.starts_empty:
            return None
        return NegativeMask(query_rows=rows, negative_rows=self.rows, empty=EMPTY)

    def valid_rows(self) -> int:
        """Return the number of slots that count as negatives. Syncs with the device."""
        return int(self.fill) if self.starts_empty else self.capacity_rows

    def oldest_age_steps(self) -> int:
        """Return the pushes since the oldest key was written, 1 for the newest; 0 without keys."""
        filled = self.rows >= 0
        if not bool(filled.any()):
            return 0
        return int(self.pushes - self.pushed_at[filled].min())

    def signals(self, *, dataset_rows: int) -> dict[str, float]:
        """Return the signals of a queue. Syncs with the device."""
        return {
            "negatives_fill_ratio": int(self.fill) / self.capacity_rows,
            "oldest_key_age_steps": float(self.oldest_age_steps()),
            "queue_dataset_ratio": self.capacity_rows / dataset_rows,
        }

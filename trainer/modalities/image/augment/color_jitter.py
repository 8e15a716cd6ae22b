"""Color jitter with a random order per row, without sorting rows by order.

Hue costs the most and is applied once to all rows. The three blends run before and after it: six
steps, and in each a row has either its factor or the factor 1, which changes nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.accel.view_layout import CONTRAST, HUE, SATURATION
from trainer.modalities.image.augment import color
from trainer.modalities.image.augment.params import ViewParams

BEFORE, AFTER = (0, 1, 2), (1, 2, 3)
"""Places in the order that can come before hue, and after it."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """The steps of B rows; float32 [B, 6] each, three before hue and three after."""

    factor: Tensor
    to_luma: Tensor
    to_mean: Tensor
    turns: Tensor
    """float32 [B]: the shift of hue."""
    hue_at: Tensor
    """int64 [B] in 0..3: the place of hue in the order."""

    def rows(self, chosen: Tensor | slice) -> "Jitter":
        """Return the steps of some rows."""
        return Jitter(
            self.factor[chosen],
            self.to_luma[chosen],
            self.to_mean[chosen],
            self.turns[chosen],
            self.hue_at[chosen],
        )


def plan(params: ViewParams) -> Jitter:
    """Return the steps that do what the parameters say."""
    order = params.order
    hue_at = (order == HUE).int().argmax(dim=1)
    position = torch.arange(4, device=order.device)
    factors = params.factors.gather(1, order)
    before = factors.where(position < hue_at[:, None], 1.0)[:, :3]
    after = factors.where(position > hue_at[:, None], 1.0)[:, 1:]
    factor = torch.cat([before, after], dim=1)
    op = torch.cat([order[:, :3], order[:, 1:]], dim=1)
    return Jitter(
        factor=factor,
        to_luma=(1.0 - factor) * (op == SATURATION),
        to_mean=(1.0 - factor) * (op == CONTRAST),
        turns=params.factors[:, HUE],
        hue_at=hue_at,
    )


def jitter_(pixels: Tensor, jitter: Jitter, *, hue_at: Sequence[int] | None, hue: bool) -> None:
    """Change brightness, contrast, saturation and hue of float32 [B, 3, P] in place.

    `hue_at` are the rows' places of hue if the rows are sorted by them: then each step touches one
    run of rows. None touches all rows, which on a GPU is cheaper than to wait for their places.
    """
    for step, position in enumerate(BEFORE):
        first = bisect_right(hue_at, position) if hue_at is not None else 0
        _blend_(pixels, jitter, step, slice(first, None))
    if hue:
        color.shift_hue_(pixels, jitter.turns)
    for step, position in enumerate(AFTER, start=len(BEFORE)):
        last = bisect_left(hue_at, position) if hue_at is not None else None
        _blend_(pixels, jitter, step, slice(0, last))


def _blend_(pixels: Tensor, jitter: Jitter, step: int, run: slice) -> None:
    chosen = pixels[run]
    if len(chosen):
        color.blend_(
            chosen,
            jitter.factor[run, step],
            to_luma=jitter.to_luma[run, step],
            to_mean=jitter.to_mean[run, step],
        )

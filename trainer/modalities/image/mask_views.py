"""Masks as rows are seen without augmentation: resized, the square in the middle."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pack.format import Pack
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages

ROWS = 32
"""Rows that are resized together."""


def plain_masks(
    views: ResolvedViewsSpec, pack: Pack, rows: Tensor, *, lows: Sequence[int]
) -> Tensor:
    """Return the class that most of each pixel of a row shows, uint8 [n, side, side], on the host.

    A class has the mask values from its value in `lows`, which rise, to below the next.
    """
    cpu, classes = torch.device("cpu"), len(lows)
    shares = ImageAugmenter(views, mean=[0.0] * classes, std=[1.0] * classes, device=cpu)
    parts = [
        shares.center_crop(_images(pack, chunk.numpy(), lows)).argmax(1).to(torch.uint8)
        for chunk in (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
    ]
    return torch.cat(parts)


def _images(pack: Pack, rows: NDArray[np.int64], lows: Sequence[int]) -> PaddedImages:
    """Return each class of masks as a channel: 255 where a pixel is of it, else 0."""
    sizes = pack.sizes(rows).astype(np.int64)
    height, width = (int(side) for side in sizes.max(axis=0))
    pixels = np.zeros((len(rows), len(lows), height, width), np.uint8)
    for place, row in enumerate(rows.tolist()):
        mask = pack.mask(row)
        assert mask is not None
        classes = np.searchsorted(np.asarray(lows), mask, side="right") - 1
        down, across = mask.shape
        for number in range(len(lows)):
            pixels[place, number, :down, :across] = (classes == number) * np.uint8(255)
    sent = pack.sent(rows)
    heights, widths = torch.from_numpy(sizes).unbind(1)
    return PaddedImages(
        torch.from_numpy(pixels),
        heights,
        widths,
        sent=None if sent is None else torch.from_numpy(sent),
    )

"""Views of images: random ones of each row, or one without randomness."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.accel.ops import Accelerator
from trainer.data.pack.format import Pack
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.normalization import Normalization
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import Images
from trainer.modalities.image.mask_views import plain_masks
from trainer.nn.views import Pixels, View

RAW_SIDE_PX = 32
"""Raw input is compared at this side, so that 50,000 rows of it fit into memory."""
CELL_SIDE_PX = 4
"""Side of a cell of a feature map as raw input."""


@dataclass(frozen=True, slots=True)
class ImageViews:
    """Augmented images of one job."""

    augmenter: ImageAugmenter
    second: ImageAugmenter | None = None
    """Augmentation of all views but the first, if they have settings of their own."""
    count: int = 2
    """Views of each row."""

    @property
    def fallback_reason(self) -> str | None:
        """Reason why views take a slower way, or None if there is none."""
        of_second = self.second and self.second.fallback_reason
        if self.augmenter.fallback_reason or not of_second:
            return self.augmenter.fallback_reason
        return f"{of_second} (second view)"

    def random(
        self, raw: Images, rows: Tensor, *, seed: int, epoch: int | Tensor
    ) -> tuple[Pixels, ...]:
        """Return the random views of each row."""
        if self.second is None and self.count == 2:
            first, second = self.augmenter.pair(raw, rows, seed=seed, epoch=epoch)
            return Pixels(first), Pixels(second)
        total = len(rows)
        own, partners = raw, raw
        if len(raw.heights) > total:
            own, partners = raw.rows(slice(total)), raw.rows(slice(total, None))
        others = self.second or self.augmenter
        made = (
            self.augmenter.views(own, rows, seed=seed, epoch=epoch, view=0),
            *(
                others.views(partners, rows, seed=seed, epoch=epoch, view=view)
                for view in range(1, self.count)
            ),
        )
        return tuple(Pixels(pixels) for pixels in made)

    def first(self, raw: Images, rows: Tensor, *, seed: int, epoch: int | Tensor) -> Pixels:
        """Return the first random view of each row."""
        return Pixels(self.augmenter.views(raw, rows, seed=seed, epoch=epoch, view=0))

    def plain(self, raw: Images) -> Pixels:
        """Return each row resized, its square in the middle."""
        return Pixels(self.augmenter.center_crop(raw))

    def raw_features(self, view: View) -> Tensor:
        """Return the pixels, shrunk by the mean to at most 32 px."""
        pixels = view.pixels
        if pixels.shape[-1] > RAW_SIDE_PX:
            pixels = F.interpolate(pixels, size=RAW_SIDE_PX, mode="area")
        return pixels.flatten(1)

    def raw_map(self, view: View, *, grid: tuple[int, int]) -> Tensor:
        """Return the pixels of each cell, shrunk by the mean to 4 x 4 of each channel."""
        size = [CELL_SIDE_PX * side for side in grid]
        pixels = F.interpolate(view.pixels.float(), size=size, mode="area")
        return F.pixel_unshuffle(pixels, CELL_SIDE_PX)

    def masks(self, pack: Pack, rows: Tensor, *, lows: Sequence[int]) -> Tensor:
        """Return the class of each pixel, from masks that are resized like their rows."""
        return plain_masks(self.augmenter.spec, pack, rows, lows=lows)


def views_of(
    settings: ResolvedViewsSpec,
    moments: Normalization,
    *,
    device: torch.device,
    accelerator: Accelerator | None = None,
) -> ImageViews:
    """Return views with these settings on a device."""
    made = partial(
        ImageAugmenter,
        mean=moments.mean,
        std=moments.std,
        device=device,
        accelerator=accelerator,
    )
    of_second = settings.of_second()
    second = None if of_second is settings else made(of_second)
    return ImageViews(made(settings), second, settings.count)

"""Augmentation parameters of a view, a pure function of (seed, epoch, row, view)."""

import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from trainer.modalities.image.augment.optional import NoiseKey, OptionalParams, draw_optional
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.rng.philox import uniforms

CROP_TRIES = 10
ORDERS = tuple(permutations(range(4)))
"""The 24 orders of colour jitter."""
DRAWS = 2 * CROP_TRIES + 13
"""Uniform numbers a view takes, whatever its settings: a change of one leaves the others as is."""


@dataclass(frozen=True, slots=True)
class Box:
    """The part of each row that becomes its view. int64 [B] each, in pixels of the row."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def rows(self, chosen: Tensor | slice) -> "Box":
        """Return the boxes of some rows."""
        return Box(self.top[chosen], self.left[chosen], self.height[chosen], self.width[chosen])


@dataclass(frozen=True, slots=True)
class ViewParams:
    """View parameters of B rows. An augmentation that is skipped has its neutral value."""

    box: Box
    flip: Tensor
    """bool [B]."""
    order: Tensor
    """int64 [B, 4]: which of brightness, contrast, saturation and hue comes first, second, ..."""
    factors: Tensor
    """float32 [B, 4]: brightness, contrast, saturation (1 changes nothing), hue in turns (0)."""
    grey: Tensor
    """bool [B]."""
    sigma_px: Tensor
    """float32 [B] of the blur; 0 for none."""
    solarize: Tensor
    """bool [B]."""
    optional: OptionalParams | None = None
    """None unless an augmentation that is off by default may happen."""

    def rows(self, chosen: Tensor | slice) -> "ViewParams":
        """Return the parameters of some rows."""
        return ViewParams(
            box=self.box.rows(chosen),
            flip=self.flip[chosen],
            order=self.order[chosen],
            factors=self.factors[chosen],
            grey=self.grey[chosen],
            sigma_px=self.sigma_px[chosen],
            solarize=self.solarize[chosen],
            optional=self.optional and self.optional.rows(chosen),
        )


@dataclass(frozen=True, slots=True)
class DrawKey:
    """Key of a random draw."""

    seed: int
    epoch: int | Tensor
    view: int | Tensor
    """One of all rows, or int64 [B]."""


def draw(
    rows: Tensor, *, heights: Tensor, widths: Tensor, spec: ResolvedViewsSpec, draw_key: DrawKey
) -> ViewParams:
    """Draw the parameters of rows [B] of the given sizes, int64 [B].

    Those of `optional` are drawn by `with_optional`, which needs the number of channels.
    """
    u = uniforms(rows, seed=draw_key.seed, epoch=draw_key.epoch, view=draw_key.view, count=DRAWS)
    crops, rest = u[:, : 2 * CROP_TRIES + 2], u[:, 2 * CROP_TRIES + 2 :]
    flip, jitter, order, grey, blur, sigma, solarize = rest[:, :7].unbind(1)
    low, high = spec.blur_sigma_px
    return ViewParams(
        box=_crop_box(crops.double(), heights, widths, spec),
        flip=flip < spec.flip_p,
        order=_orders(rows.device)[(order * len(ORDERS)).long()],
        factors=_factors(rest[:, 7:11], jitter < spec.jitter_p, spec),
        grey=grey < spec.grey_p,
        sigma_px=torch.where(blur < spec.blur_p, low + (high - low) * sigma, 0.0),
        solarize=solarize < spec.solarize_p,
    )


def with_optional(
    params: ViewParams,
    rows: Tensor,
    *,
    channels: int,
    spec: ResolvedViewsSpec,
    draw_key: DrawKey,
) -> ViewParams:
    """Return parameters of rows [B] with those of augmentations that are off by default."""
    view = torch.zeros_like(rows) + draw_key.view
    noise_key = NoiseKey(draw_key.seed, draw_key.epoch, rows, view)
    optional = draw_optional(
        rows, spec=spec, side_px=spec.side_px, channels=channels, noise_key=noise_key
    )
    return replace(params, optional=optional)


def centre_box(heights: Tensor, widths: Tensor) -> Box:
    """Return the largest square in the middle, with torchvision's `center_crop` rounding."""
    side = torch.minimum(heights, widths)
    top, left = (((whole - side) / 2).round().long() for whole in (heights, widths))
    return Box(top, left, side, side)


@dataclass(frozen=True, slots=True)
class Frame:
    """Box of each row that evaluation uses; float64 [B] each, in pixels of the row."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def rows(self, chosen: slice) -> "Frame":
        """Return the frames of some rows."""
        return Frame(self.top[chosen], self.left[chosen], self.height[chosen], self.width[chosen])


def resized_frame(heights: Tensor, widths: Tensor, *, sent: Tensor | None, side_px: int) -> Frame:
    """Return the box that torchvision's `Resize` and `CenterCrop` to `side_px` keep of each row.

    `sent` int64 [B, 2] are heights and widths of the files, whose rounding counts.
    """
    sizes = torch.stack([heights, widths], dim=1)
    files = sizes if sent is None else sent
    shorter = files.min(dim=1, keepdim=True).values
    resized = side_px * files // shorter
    offset = ((resized - side_px) / 2.0).round()
    scale = sizes.double() / resized
    (top, left), (height, width) = (scale * offset).unbind(1), (scale * side_px).unbind(1)
    return Frame(top, left, height, width)


@cache
def _orders(device: torch.device) -> Tensor:
    """Return ORDERS, kept on the device: to send it again would make the host wait."""
    return torch.tensor(ORDERS, device=device)


def _factors(u: Tensor, jittered: Tensor, spec: ResolvedViewsSpec) -> Tensor:
    """Return jitter factors from uniforms [B, 4]; neutral where not `jittered` [B]."""
    strengths = (spec.brightness, spec.contrast, spec.saturation)
    ranges = [(max(0.0, 1.0 - x), 1.0 + x, 1.0) for x in strengths]
    columns = [
        torch.where(jittered, low + (high - low) * column, still)
        for column, (low, high, still) in zip(
            u.unbind(1), [*ranges, (-spec.hue, spec.hue, 0.0)], strict=True
        )
    ]
    return torch.stack(columns, dim=1)


def _crop_box(u: Tensor, heights: Tensor, widths: Tensor, spec: ResolvedViewsSpec) -> Box:
    """Return the boxes of torchvision's `RandomResizedCrop.get_params`, all tries made at once.

    A try draws the area as a share of the row and the logarithm of width / height, both evenly;
    the first that fits is taken and laid down evenly; if none fits, the middle of the row with the
    nearest allowed ratio. `u` float64 [B, 2 x CROP_TRIES + 2].
    """
    scale_low, scale_high = spec.crop_scale or (1.0, 1.0)
    log_low, log_high = (math.log(ratio) for ratio in spec.crop_ratio)
    u_area, u_ratio = u[:, :CROP_TRIES], u[:, CROP_TRIES : 2 * CROP_TRIES]
    area = (heights * widths)[:, None] * (scale_low + (scale_high - scale_low) * u_area)
    ratio = torch.exp(log_low + (log_high - log_low) * u_ratio)
    width, height = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (width > 0) & (width <= widths[:, None]) & (height > 0) & (height <= heights[:, None])
    first = fits.int().argmax(dim=1, keepdim=True)
    is_any = fits.any(dim=1)
    fallback_height, fallback_width = _nearest_ratio(heights, widths, spec.crop_ratio)
    height = torch.where(is_any, height.gather(1, first)[:, 0], fallback_height)
    width = torch.where(is_any, width.gather(1, first)[:, 0], fallback_width)
    top = torch.where(is_any, (u[:, -2] * (heights - height + 1)).long(), (heights - height) // 2)
    left = torch.where(is_any, (u[:, -1] * (widths - width + 1)).long(), (widths - width) // 2)
    return Box(top, left, height, width)


def _nearest_ratio(
    heights: Tensor, widths: Tensor, ratios: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return height and width of the largest box with width / height within `ratios`."""
    low, high = ratios
    tall, wide = widths < low * heights, widths > high * heights
    height = torch.where(tall, (widths.double() / low).round().long(), heights)
    width = torch.where(wide, (heights.double() * high).round().long(), widths)
    return height, width

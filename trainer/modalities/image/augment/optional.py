"""Augmentations that are off by default: turns, rotation, noise, a lost channel, random erasing.

Their random numbers have purposes of their own, so views without them keep their bits. All are
batched: each row has parameters of its own, and nothing waits for the device.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.rng.philox import uniforms
from trainer.rng.seeds import derived_seed

ERASE_TRIES = 10
DRAWS = 2 * ERASE_TRIES + 12
"""Uniform numbers a view takes, whatever its settings."""
PARAMETERS, NOISE = "optional augmentations", "noise of views"
"""Purposes of draws."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """The erased part of each view. int64 [B] each, in pixels of the view; height 0 for none."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """Key of the noise of each row."""

    seed: int
    epoch: int | Tensor
    rows: Tensor
    """int64 [B]."""
    view: Tensor
    """int64 [B]."""


@dataclass(frozen=True, slots=True)
class OptionalParams:
    """Parameters of B rows. An augmentation that is skipped has its neutral value."""

    upside_down: Tensor
    """bool [B]."""
    turns: Tensor
    """int64 [B] in 0 to 3: quarter turns counterclockwise."""
    degrees: Tensor
    """float32 [B], counterclockwise; 0 for none."""
    noise_sigma: Tensor
    """float32 [B]; 0 for none."""
    lost_channel: Tensor
    """int64 [B]; -1 for none."""
    erased: Rectangle
    noise_key: NoiseKey

    def rows(self, chosen: Tensor | slice) -> "OptionalParams":
        """Return the parameters of some rows."""
        erased, key = self.erased, self.noise_key
        return OptionalParams(
            upside_down=self.upside_down[chosen],
            turns=self.turns[chosen],
            degrees=self.degrees[chosen],
            noise_sigma=self.noise_sigma[chosen],
            lost_channel=self.lost_channel[chosen],
            erased=Rectangle(
                erased.top[chosen],
                erased.left[chosen],
                erased.height[chosen],
                erased.width[chosen],
            ),
            noise_key=replace(key, rows=key.rows[chosen], view=key.view[chosen]),
        )


def draw_optional(
    rows: Tensor, *, spec: ViewsSpec, side_px: int, channels: int, noise_key: NoiseKey
) -> OptionalParams:
    """Draw the parameters of rows [B]; the key says of which job, epoch and view."""
    u = uniforms(
        rows,
        seed=derived_seed(noise_key.seed, PARAMETERS),
        epoch=noise_key.epoch,
        view=noise_key.view,
        count=DRAWS,
    )
    flip, turn, turns, rotate, angle, noise, lose, channel, erase, y, x, _ = u[:, :12].unbind(1)
    degrees = spec.rotation_degrees * (2.0 * angle - 1.0)
    lost = (channel * channels).long()
    return OptionalParams(
        upside_down=flip < spec.vertical_flip_p,
        turns=torch.where(turn < spec.quarter_turn_p, (3.0 * turns).long() + 1, 0),
        degrees=torch.where(rotate < spec.rotation_p, degrees, 0.0),
        noise_sigma=torch.where(noise < spec.noise_p, spec.noise_sigma, 0.0),
        lost_channel=torch.where(lose < spec.channel_drop_p, lost, -1),
        erased=_rectangle(u[:, 12:].double(), (y, x), erase < spec.erase_p, side_px, spec),
        noise_key=noise_key,
    )


def _rectangle(
    u: Tensor, corner: tuple[Tensor, Tensor], is_erased: Tensor, side_px: int, spec: ViewsSpec
) -> Rectangle:
    """Return the rectangles of torchvision's `RandomErasing.get_params`, all tries made at once.

    A try draws the area as a share of the view and the logarithm of height / width, both evenly;
    the first that is smaller than the view both ways is laid down evenly; if none is, nothing is
    erased. `u` float64 [B, 2 x ERASE_TRIES].
    """
    low, high = spec.erase_scale
    log_low, log_high = (math.log(ratio) for ratio in spec.erase_ratio)
    area = side_px**2 * (low + (high - low) * u[:, :ERASE_TRIES])
    ratio = torch.exp(log_low + (log_high - log_low) * u[:, ERASE_TRIES:])
    height, width = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (height < side_px) & (width < side_px)
    first = fits.int().argmax(dim=1, keepdim=True)
    is_erased = is_erased & fits.any(dim=1)
    height, width = (torch.where(is_erased, it.gather(1, first)[:, 0], 0) for it in (height, width))
    top, left = (
        (place.double() * (side_px - length + 1)).long()
        for place, length in zip(corner, (height, width), strict=True)
    )
    return Rectangle(top, left, height, width)


def turned(pixels: Tensor, params: OptionalParams) -> Tensor:
    """Flip [B, C, S, S] upside down, then turn it by quarters; exact."""
    turns = params.turns
    pixels = _chosen(params.upside_down, pixels.flip(2), pixels)
    pixels = _chosen(turns % 2 == 1, pixels.transpose(2, 3), pixels)
    pixels = _chosen((turns == 1) | (turns == 2), pixels.flip(2), pixels)
    return _chosen(turns >= 2, pixels.flip(3), pixels)


def rotated(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Rotate [B, C, S, S] about the middle, counterclockwise by degrees [B]; 0 leaves a row as is.

    Bilinear; beyond its border the view is mirrored, each edge pixel repeated.
    """
    if len(pixels) == 0:  # affine_grid refuses an empty batch
        return pixels
    angle = torch.deg2rad(degrees.to(pixels.dtype))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(pixels.shape), align_corners=False)
    made = F.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _chosen(degrees != 0.0, made, pixels)


def with_noise(pixels: Tensor, sigma: Tensor, key: NoiseKey) -> Tensor:
    """Return [B, C, P] in [0, 1] with Gaussian noise of sigma [B], cut to [0, 1]."""
    channels, values = pixels.shape[1:]
    noise = normals(key, channels * values).view_as(pixels)
    return noise.mul_(sigma[:, None, None]).add_(pixels).clamp_(0.0, 1.0)


def normals(key: NoiseKey, count: int) -> Tensor:
    """Return standard normal numbers, float32 [B, count], from pairs of uniforms (Box, Muller)."""
    pairs = -(-count // 2)
    u = uniforms(
        key.rows,
        seed=derived_seed(key.seed, NOISE),
        epoch=key.epoch,
        view=key.view,
        count=2 * pairs,
    )
    radius, angle = (-2.0 * (1.0 - u[:, :pairs]).log()).sqrt(), 2.0 * math.pi * u[:, pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def lose_(pixels: Tensor, params: OptionalParams) -> None:
    """Set the lost channel and the erased part of normalized [B, C, S, S] to 0, the mean."""
    channels, side_px = pixels.shape[1], pixels.shape[-1]
    numbers = torch.arange(max(channels, side_px), device=pixels.device)
    is_lost = params.lost_channel[:, None] == numbers[:channels]
    box, place = params.erased, numbers[:side_px]
    rows = _between(place, box.top, box.height)
    columns = _between(place, box.left, box.width)
    is_erased = rows[:, :, None] & columns[:, None, :]
    pixels.masked_fill_(is_lost[:, :, None, None] | is_erased[:, None], 0.0)


def _between(place: Tensor, start: Tensor, length: Tensor) -> Tensor:
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def _chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask[:, None, None, None], yes, no)

"""Colour jitter, grey and solarize for a batch with parameters of its own for each row.

Equal to torchvision's functional ops on float images, which clamp to [0, 1] after each. All work
in place on float32 pixels [B, 3, P] in [0, 1]; P counts the pixels of a view. What happens to some
rows only is mixed in with weights of 0 and 1, for which `lerp` is exact.
"""

from functools import cache

import torch
from torch import Tensor

from trainer.accel.view_layout import LUMA


def luma(pixels: Tensor) -> Tensor:
    """Return brightness as the eye has it, [B, 1, P]; of other than three channels their mean."""
    channels = pixels.shape[1]
    weights = _luma_weights(pixels.device, channels)
    return torch.bmm(weights.expand(len(pixels), 1, channels), pixels)


def blend_(pixels: Tensor, factor: Tensor, *, to_luma: Tensor, to_mean: Tensor) -> None:
    """X <- clamp(factor x + to_luma luma(x) + to_mean mean(luma(x))), all float32 [B].

    With 1 - factor in `to_luma` this is saturation, in `to_mean` contrast, in neither brightness.
    A factor of 1 with zeros changes nothing.
    """
    grey = luma(pixels)
    mean = grey.mean(dim=2, keepdim=True)
    target = torch.addcmul(mean.mul_(_each(to_mean)), grey, _each(to_luma))
    torch.addcmul(target, pixels, _each(factor), out=pixels)
    pixels.clamp_(0.0, 1.0)


def grey_(pixels: Tensor, mask: Tensor) -> None:
    """Take the colour from the rows of a bool mask [B]."""
    pixels.lerp_(luma(pixels), _each(mask.float()))


def shift_hue_(pixels: Tensor, turns: Tensor) -> None:
    """Turn the hue of each row by `turns` [B] in [-0.5, 0.5], keeping value and saturation.

    With M and m the greatest and the least channel and h the hue in sixths of the circle, a channel
    is m + (M - m) t(h): t is a trapezium, the same for each channel but for its place.
    """
    red, green, blue = pixels.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = top - low
    hue = _hue(pixels, top, chroma).add_(6.0 * turns[:, None])
    hue.sub_(torch.floor(hue / 6.0).mul_(6.0))
    torch.addcmul(low, chroma, (hue - 3.0).abs_().sub_(1.0).clamp_(0.0, 1.0), out=red)
    torch.addcmul(low, chroma, (2.0 - (hue - 2.0).abs_()).clamp_(0.0, 1.0), out=green)
    torch.addcmul(low, chroma, (2.0 - (hue - 4.0).abs_()).clamp_(0.0, 1.0), out=blue)


def solarize_(pixels: Tensor, mask: Tensor) -> None:
    """Invert the values of one half and above in the rows of a bool mask [B]."""
    inverted = 1.0 - pixels
    pixels.lerp_(torch.minimum(pixels, inverted, out=inverted), _each(mask.float()))


def _hue(pixels: Tensor, top: Tensor, chroma: Tensor) -> Tensor:
    """Return the hue in sixths of the circle, [B, P] in [-1, 5]; 0 where there is no colour.

    `lerp` with weights of 0 and 1 picks the piece: a `where` takes ten times longer on a CPU.
    """
    red, green, blue = pixels.unbind(1)
    is_red = torch.eq(red, top, out=torch.empty_like(top))
    is_green = torch.eq(green, top, out=torch.empty_like(top))
    difference = torch.lerp(red - green, blue - red, is_green).lerp_(green - blue, is_red)
    hue = difference.div_(chroma.clamp(min=1e-12))
    # The piece of red begins at 0, that of green at 2, that of blue at 4.
    start = is_green.mul_(-2.0).add_(4.0)
    return hue.add_(start).addcmul_(start, is_red, value=-1.0)


@cache
def _luma_weights(device: torch.device, channels: int) -> Tensor:
    """Return weights [1, 1, C], kept on the device: to send them again would make the host wait."""
    weights = LUMA if channels == len(LUMA) else (1.0 / channels,) * channels
    return torch.tensor([[weights]], device=device)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]
